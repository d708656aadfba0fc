"""torchvision's VGG. Its ResNets and DenseNets have the names that timm has."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = ((r"^classifier\.0\.", "pre_logits.fc1."), (r"^classifier\.3\.", "pre_logits.fc2."))


class TorchvisionVGG(WeightFormat):
    """The hidden layers of the classifier are linear; timm has them as convolutions."""

    title = "torchvision's VGG"
    sign = r"features\.0\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, and give the hidden layers the shapes of convolutions."""
        own, found = trunk.state_dict(), rename(state, _RULES)
        shapes = {name: own[name].shape for name in found if name in own}
        return {
            name: item.view(shapes[name])
            if name in shapes and item.numel() == shapes[name].numel()
            else item
            for name, item in found.items()
        }


WEIGHT_FORMATS.register("torchvision_vgg", TorchvisionVGG())
