"""How much work a sweep is, and how long it takes on processors of a given speed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweep.data.manifest import Manifest
from sweep.space.model import Cell, Space
from sweep.train.flops import ImageFlops, image_flops
from sweep.train.speed import Speed


@dataclass(frozen=True)
class Work:
    """The images of a cell that go through its network, if no trial is pruned.

    Attributes:
        scored: images that are only predicted, or whose features are computed.
        trained: images of training steps.
        image: floating-point operations of one of each.
    """

    scored: int
    trained: int
    image: ImageFlops

    @property
    def flops(self) -> float:
        """Floating-point operations of all of it."""
        return self.scored * self.image.forward + self.trained * self.image.step

    @property
    def passes(self) -> int:
        """How many forward passes of one image it is worth."""
        return round(self.flops / self.image.forward)

    def seconds(self, speed: Speed) -> float:
        """Return how long it takes at a speed."""
        scored, trained = self.scored * self.image.forward, self.trained * self.image.step
        return scored / speed.scoring + trained / speed.training


def work_of(
    space: Space, cell: Cell, size: int, images: int | None, manifest: Manifest | None
) -> Work | None:
    """Return the work of a cell; None if the number of images is not known.

    Args:
        size: side in pixels of the images.
        images: in the data set.

    Raises:
        BackboneError: the network cannot take images of that size.
    """
    image = image_flops(cell, size)
    if images is None:
        return None
    if cell.fused:
        return Work(images, 0, image)  # features serve all trials and confirmations
    test, val = (round(images * share) for share in (space.split.test, space.split.val_fraction))
    if manifest is not None:
        test, val = (int((manifest.splits == part).sum()) for part in ("test", "val"))
    train = round(cell.train_fraction * (images - test - val))
    # With repeated confirmations the search's trainings are the confirmations' own.
    epochs = cell.epochs * (cell.trials + (0 if cell.repeated else cell.confirmations))
    return Work(epochs * val + cell.confirmations * test, epochs * train, image)


@dataclass(frozen=True)
class Share:
    """The work of one backbone on one data set."""

    dataset: str
    backbone: str
    work: Work


def shares(cells: Iterable[tuple[Cell, Work | None]]) -> list[Share]:
    """Return all work that is known; features that several cells have in common count once."""
    found, features = [], set()
    for cell, work in cells:
        place = cell.dataset.name, cell.backbone.name
        if work is None or (cell.fused and place in features):
            continue
        if cell.fused:
            features.add(place)
        found.append(Share(*place, work))
    return found


def seconds_by_dataset(work: Iterable[Share], speeds: Mapping[str, Speed]) -> dict[str, float]:
    """Return how long the work of each data set takes.

    Args:
        speeds: of each backbone, by its name.
    """
    seconds: dict[str, float] = {}
    for share in work:
        own = share.work.seconds(speeds[share.backbone])
        seconds[share.dataset] = seconds.get(share.dataset, 0.0) + own
    return seconds
