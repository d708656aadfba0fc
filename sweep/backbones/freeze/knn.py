"""`knn`: the nearest training images vote, by the outputs of the trunk as it is."""

from collections.abc import Mapping

from sweep.backbones.freeze.frozen import Frozen
from sweep.space.domains import Categorical, Range
from sweep.space.registries import FREEZE_MODES


class KNN(Frozen):
    """The weighted vote of Wu et al. 2018, as DINO and DINOv2 evaluate with it."""

    trains = "nothing: the nearest training images vote"
    head = "nearest_neighbors"
    domains: Mapping[str, Range | Categorical] = {
        "n_neighbors": Categorical((1, 3, 5, 10, 20, 50, 100, 200)),
        "temperature": Range(low=0.01, high=1.0),
    }
    epochs = 1
    trains_head = False


FREEZE_MODES.register("knn", KNN())
