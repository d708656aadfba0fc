"""A family of backbones: two layers of convolutions, with a preprocessing of its own."""

from torch import nn

from sweep.backbones.families.base import BackboneFamily, Preprocessing
from sweep.space.backbone import BackboneSpec
from sweep.space.registries import BACKBONES

_WIDTHS = {"narrow": 8, "wide": 16}


class TinyCNN(BackboneFamily):
    """``tiny_cnn:narrow`` and ``tiny_cnn:wide``; it has no weights of its own."""

    def check(self, model: str) -> str | None:
        """Take the two widths."""
        variant = model.partition(":")[2]
        return None if variant in _WIDTHS else f"allowed are {' and '.join(_WIDTHS)}"

    def build(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Make the layers."""
        width = _WIDTHS[spec.model.partition(":")[2]]
        return nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )

    def preprocessing(self, spec: BackboneSpec) -> Preprocessing:
        """Return what it wants."""
        return Preprocessing((0.4, 0.4, 0.4), (0.3, 0.3, 0.3), "nearest")


TINY_CNN = TinyCNN()
BACKBONES.register("tiny_cnn", TINY_CNN)
