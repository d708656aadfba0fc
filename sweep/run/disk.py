"""How much disk a sweep needs."""

from dataclasses import dataclass

from sweep.run.plan import CellPlan, Decoding

_BYTES = 4  # size of a float32
_MIB = 2**20


@dataclass(frozen=True)
class DiskNeeds:
    """What a sweep writes, in MiB, at most.

    Attributes:
        images: decoded images that the cache does not hold yet.
        features: of frozen trunks, those included that the cache holds already.
        models: kept models.
    """

    images: float
    features: float
    models: float

    @property
    def of_place(self) -> dict[str, float]:
        """What the disk of each place must have free, by the names that nodes use."""
        return {"home": self.models, "cache": self.images + self.features}

    def __str__(self) -> str:
        cache = f"{gib(self.images)} of decoded images and {gib(self.features)} of features"
        return f"up to {cache} for the cache, {gib(self.models)} of kept models for the home"


def disk_needs(
    plans: list[CellPlan], left: list[tuple[Decoding, int]], keep_models: str
) -> DiskNeeds:
    """Return what a sweep needs.

    Args:
        left: images that are still to be decoded, with their numbers.
        keep_models: of each cell, ``first`` or ``all``.
    """
    images = sum(count * item.size**2 * 3 for item, count in left)
    features = {
        (plan.cell.dataset.name, plan.cell.backbone.name): plan.work.scored * plan.features * _BYTES
        for plan in plans
        if plan.cell.fused and plan.work
    }
    models = sum(
        plan.parameters * _BYTES * (plan.cell.confirmations if keep_models == "all" else 1)
        for plan in plans
    )
    return DiskNeeds(images / _MIB, sum(features.values()) / _MIB, models / _MIB)


def gib(mib: float) -> str:
    """Return a size in GiB, for people; in MiB if it is small."""
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"
