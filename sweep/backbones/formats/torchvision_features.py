"""torchvision's Swin, ConvNeXt and EfficientNet, whose layers are numbers in ``features``."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, by_number, rename
from sweep.space.registries import WEIGHT_FORMATS

# The stages have odd numbers, what is between them even ones.
_SWIN = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    *((rf"^features\.{2 * i + 1}\.(\d+)\.", rf"layers.{i}.blocks.\1.") for i in range(4)),
    *((rf"^features\.{2 * i}\.", f"layers.{i}.downsample.") for i in range(1, 4)),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
)
_CONVNEXT = (
    (r"^features\.0\.", "stem."),
    *((rf"^features\.{2 * i + 1}\.(\d+)\.", rf"stages.{i}.blocks.\1.") for i in range(4)),
    *((rf"^features\.{2 * i}\.", f"stages.{i}.downsample.") for i in range(1, 4)),
    (r"\.layer_scale$", ".gamma"),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"^classifier\.0\.", "head.norm."),
)
# EfficientNets from B5 on have another epsilon in their norms than timm's.
_MOST_BLOCKS = 32


class TorchvisionFeatures(WeightFormat):
    """Stages are numbers in ``features``."""

    title = "torchvision's Swin, ConvNeXt or EfficientNet"
    sign = r"features\.0\.0\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, by what the trunk is."""
        own = trunk.state_dict()
        if "stem.0.weight" in own:
            found = rename(state, _CONVNEXT)
            return {n: t.flatten() if n.endswith(".gamma") else t for n, t in found.items()}
        if "patch_embed.norm.weight" in own:
            known = {n: t for n, t in state.items() if not n.endswith("relative_position_index")}
            return rename(known, _SWIN)
        return _efficientnet(state, list(own))


def _efficientnet(state: StateDict, own: list[str]) -> StateDict:
    """Give the layers of ``features``, in their order, the names of the trunk's."""
    layers = sorted(
        {name.rpartition(".")[0] for name in state if name.startswith("features.")}, key=by_number
    )
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    blocks = {name.partition(".block.")[0] for name in layers if ".block." in name}
    if len(layers) != len(names) or len(blocks) > _MOST_BLOCKS:
        return state
    new = dict(zip(layers, names, strict=True))
    parts = {name: name.rpartition(".") for name in state}
    return {
        f"{new[layer]}.{last}" if layer in new else name: state[name]
        for name, (layer, _, last) in parts.items()
    }


WEIGHT_FORMATS.register("torchvision_features", TorchvisionFeatures())
