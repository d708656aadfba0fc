"""iChallenge-PM (PALM): fundus photographs with and without pathologic myopia."""

from pathlib import Path
from typing import ClassVar

from sweep.data.layouts.base import Layout, read_table
from sweep.data.layouts.tree import photographs
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

# P marks pathological myopia, H high myopia and N a healthy eye.
_PM = {"P": "PM", "H": "Non-PM", "N": "Non-PM"}


class IChallengePM(Layout):
    """The training and validation sets of PALM."""

    signs = ("PALM-Training400", "PALM-Training400*")
    known: ClassVar = {
        "ichallenge_pm": KnownDataset(
            {
                "path": ["ichallenge_pm", "iChallenge-PM*", "ichallenge_pm"],
                "augment": "fundus",
            },
            "iChallenge-PM, PALM (ichallenges.grand-challenge.org): PALM-Training400/, "
            "PALM-Validation400/ and labels.csv there",
            (800, 2),
        )
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name PALM-Training400 by first letter, PALM-Validation400, the test, by labels.csv."""
        root = path
        samples = [
            Sample(str(file), _PM[file.name[0]], str(file), "train")
            for file in photographs(root, "PHN")
        ]
        tables = sorted(root.rglob("labels.csv"))
        if not tables:
            return [Sample(s.path, s.label, s.group, None) for s in samples]
        table = read_table(spec, tables[0], ["imgName", "Label"])
        files = {file.name: str(file) for file in photographs(root, "V")}
        absent = [name for name in table["imgName"] if name not in files]
        odd = sorted(set(table["Label"]) - {"0", "1"})
        if absent or odd:
            what = (
                f"Label {odd[0]!r} is not 0 or 1" if odd else f"{len(absent)} images are not there"
            )
            shown = f":\n{listing(absent)}" if absent and not odd else ""
            raise DataError(f"dataset {spec.name}: {tables[0]}: {what}{shown}")
        names = {"1": "PM", "0": "Non-PM"}
        rows = zip(table["imgName"], table["Label"], strict=True)
        return samples + [Sample(files[n], names[v], files[n], "test") for n, v in rows]


LAYOUTS.register("ichallenge_pm", IChallengePM())
