"""Hugging Face's ResNet."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, rename
from sweep.space.registries import WEIGHT_FORMATS


class HuggingFaceResNet(WeightFormat):
    """``encoder.stages.0.layers.0.layer.0.convolution``."""

    title = "Hugging Face's ResNet"
    sign = r"embedder\.embedder\.convolution\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename; stages and convolutions count from 1."""
        rules = (
            (r"^embedder\.embedder\.convolution\.", "conv1."),
            (r"^embedder\.embedder\.normalization\.", "bn1."),
            (r"\.shortcut\.convolution\.", ".downsample.0."),
            (r"\.shortcut\.normalization\.", ".downsample.1."),
            *((rf"\.layer\.{i}\.convolution\.", f".conv{i + 1}.") for i in range(3)),
            *((rf"\.layer\.{i}\.normalization\.", f".bn{i + 1}.") for i in range(3)),
            *((rf"^encoder\.stages\.{i}\.layers\.", f"layer{i + 1}.") for i in range(4)),
        )
        return rename(state, rules)


WEIGHT_FORMATS.register("hugging_face_resnet", HuggingFaceResNet())
