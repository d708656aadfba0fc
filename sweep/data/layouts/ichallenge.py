"""The fundus sets of the iChallenge: age-related macular degeneration, pathologic myopia."""

from collections.abc import Iterator
from pathlib import Path

from sweep.data.layouts.base import Files, Layout, read_table
from sweep.data.layouts.tree import images_below
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.model import DatasetSpec

_AMD = {"A": "AMD", "N": "Non-AMD"}
# Of the training letters only P has the disease; H is high myopia, N a healthy eye.
_PM = {"P": "PM", "H": "Non-PM", "N": "Non-PM"}


def _read_amd(spec: DatasetSpec, root: Path) -> list[Sample]:
    """Training400: folders AMD and Non-AMD, files A0001.jpg and N0001.jpg."""
    folders = set(_AMD.values())
    samples, odd = [], []
    for path in _photographs(root, "AN"):
        label = _AMD[path.name[0]]
        named = next((part for part in reversed(path.parts[:-1]) if part in folders), label)
        if named != label:
            odd.append(f"{path}: folder {named}, but the name says {label}")
        samples.append(Sample(str(path), label, str(path), None))
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} files are in the other class's folder:\n"
            f"{listing(odd)}"
        )
    return samples


def _read_pm(spec: DatasetSpec, root: Path) -> list[Sample]:
    """PALM-Training400 by first letter; PALM-Validation400 by labels.csv, which is the test."""
    samples = [
        Sample(str(path), _PM[path.name[0]], str(path), "train")
        for path in _photographs(root, "PHN")
    ]
    tables = sorted(root.rglob("labels.csv"))
    if not tables:
        return [Sample(s.path, s.label, s.group, None) for s in samples]
    table = read_table(spec, tables[0], ["imgName", "Label"])
    files = {path.name: str(path) for path in _photographs(root, "V")}
    absent = [name for name in table["imgName"] if name not in files]
    odd = sorted(set(table["Label"]) - {"0", "1"})
    if absent or odd:
        what = f"Label {odd[0]!r} is not 0 or 1" if odd else f"{len(absent)} images are not there"
        shown = f":\n{listing(absent)}" if absent and not odd else ""
        raise DataError(f"dataset {spec.name}: {tables[0]}: {what}{shown}")
    names = {"1": "PM", "0": "Non-PM"}
    rows = zip(table["imgName"], table["Label"], strict=True)
    return samples + [Sample(files[n], names[v], files[n], "test") for n, v in rows]


def _photographs(root: Path, letters: str) -> Iterator[Path]:
    """Yield the photographs below `root` (not masks of discs) named by one of these letters."""
    for path in images_below(root):
        relative = Path(path).relative_to(root)
        is_photograph = relative.suffix.lower() in {".jpg", ".jpeg", ".png"}
        if is_photograph and relative.stem[0] in letters and relative.stem[1:].isdecimal():
            yield relative


ICHALLENGE_AMD = Layout(_read_amd, lambda _spec, root: Files(root))
ICHALLENGE_PM = Layout(_read_pm, lambda _spec, root: Files(root))
