"""iChallenge-AMD: fundus photographs with and without age-related macular degeneration."""

from pathlib import Path
from typing import ClassVar

from sweep.data.layouts.base import Layout
from sweep.data.layouts.tree import photographs
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

_AMD = {"A": "AMD", "N": "Non-AMD"}


class IChallengeAMD(Layout):
    """Training400 of iChallenge-AMD."""

    signs = ("Training400", "AMD-Training400*")
    known: ClassVar = {
        "ichallenge_amd": KnownDataset(
            {
                "path": ["ichallenge_amd", "iChallenge-AMD*", "AMD-Training400*", "ichallenge_amd"],
                "augment": "fundus",
            },
            "iChallenge-AMD (ichallenges.grand-challenge.org): Training400/AMD and "
            "Training400/Non-AMD there",
            (400, 2),
        )
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the files A0001.jpg and N0001.jpg in folders AMD and Non-AMD."""
        folders = set(_AMD.values())
        samples, odd = [], []
        for photograph in photographs(path, "AN"):
            label = _AMD[photograph.name[0]]
            named = next(
                (part for part in reversed(photograph.parts[:-1]) if part in folders), label
            )
            if named != label:
                odd.append(f"{photograph}: folder {named}, but the name says {label}")
            samples.append(Sample(str(photograph), label, str(photograph), None))
        if odd:
            raise DataError(
                f"dataset {spec.name}: {len(odd)} files are in the other class's folder:\n"
                f"{listing(odd)}"
            )
        return samples


LAYOUTS.register("ichallenge_amd", IChallengeAMD())
