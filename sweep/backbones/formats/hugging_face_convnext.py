"""Hugging Face's ConvNeXt and ConvNeXt V2."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.stages\.(\d+)\.layers\.", r"stages.\1.blocks."),
    (r"^encoder\.stages\.(\d+)\.downsampling_layer\.", r"stages.\1.downsample."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.", ".mlp.grn."),
    (r"^layernorm\.", "head.norm."),
)


class HuggingFaceConvNext(WeightFormat):
    """Of both versions."""

    title = "Hugging Face's ConvNeXt"
    sign = r"encoder\.stages\.0\.layers\.0\.dwconv\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename; the numbers of the response normalisation are a vector in timm."""
        found = rename(state, _RULES)
        return {n: t.flatten() if ".mlp.grn." in n else t for n, t in found.items()}


WEIGHT_FORMATS.register("hugging_face_convnext", HuggingFaceConvNext())
