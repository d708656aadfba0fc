"""`prototypes`: the class with the nearest mean, by the outputs of the trunk as it is."""

from collections.abc import Mapping

from sweep.backbones.freeze.frozen import Frozen
from sweep.space.domains import Categorical, Range
from sweep.space.registries import FREEZE_MODES


class Prototypes(Frozen):
    """The nearest class mean on the sphere, as SimpleShot (Wang et al. 2019) classifies."""

    trains = "nothing: each class is the mean of its training images"
    head = "prototypes"
    domains: Mapping[str, Range | Categorical] = {"temperature": Range(low=0.01, high=1.0)}
    epochs = 1
    trains_head = False


FREEZE_MODES.register("prototypes", Prototypes())
