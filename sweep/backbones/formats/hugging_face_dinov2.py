"""Hugging Face's Dinov2Model and Dinov2WithRegistersModel, as RAD-DINO is published."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, fuse_qkv, rename
from sweep.backbones.formats.dino import with_registers
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^encoder\.layer\.", "blocks."),
    # As published, and as transformers 5 calls them in memory.
    (r"\.attention\.attention\.(q|k|v)\w+\.|\.attention\.(q|k|v)_proj\.", r".attn.\1\2."),
    (r"\.attention\.output\.dense\.|\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    # The feed-forward layer of DINOv2's giant model, under timm's names.
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


class HuggingFaceDinov2(WeightFormat):
    """Query, key and value are apart; layer scales are called lambda1."""

    title = "Hugging Face's Dinov2Model"
    sign = r"encoder\.layer\.0\.layer_scale1\.lambda1$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, and join query, key and value."""
        return with_registers(fuse_qkv(rename(state, _RULES)), trunk)


WEIGHT_FORMATS.register("hugging_face_dinov2", HuggingFaceDinov2())
