"""torchvision's vision transformer."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)


class TorchvisionViT(WeightFormat):
    """``encoder.layers.encoder_layer_0``."""

    title = "torchvision's vision transformer"
    sign = r"encoder\.layers\.encoder_layer_0\.ln_1\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename."""
        return rename(state, _RULES)


WEIGHT_FORMATS.register("torchvision_vit", TorchvisionViT())
