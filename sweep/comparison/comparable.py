"""Which results may stand side by side: same test samples, same data, same selection."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeVar

from sweep.errors import SweepError
from sweep.records.results import CellResult, SweepResults

Value = TypeVar("Value")

_ADVICE = (
    "\nCompare each alone, or launch one again with the data, split and objective of the other."
)


def require_comparable(sweeps: list[SweepResults]) -> None:
    """Raise SweepError, naming all that differs, unless the sweeps can be compared.

    They must have chosen their models by the same metric and, for each dataset they share, have
    tested on the same samples and learnt from the same data.
    """
    problems = [*_copies(sweeps), *_mixed(sweeps)]
    objectives = {sweep.name: sweep.space.objective for sweep in sweeps}
    if len(set(objectives.values())) > 1:
        listed = ", ".join(f"{name} by {metric}" for name, metric in objectives.items())
        problems.append(f"they chose their models by different metrics: {listed}")
    shared: dict[str, list[CellResult]] = defaultdict(list)
    for cell in _with_tests(sweeps):
        shared[cell.dataset].append(cell)
    for dataset, cells in shared.items():
        problems += [
            text
            for differs in (_tests_differ, _splits_differ, _pixels_differ)
            if (text := differs(dataset, cells))
        ][:1]
    if problems:
        names = ", ".join(sweep.name for sweep in sweeps)
        raise SweepError(
            f"{names} cannot be compared:\n"
            + "\n".join(f"  {text}" for text in problems)
            + (_ADVICE if len(sweeps) > 1 else "\nLaunch it again under another --name.")
        )


def _copies(sweeps: list[SweepResults]) -> Iterator[str]:
    of_id: dict[str, list[str]] = defaultdict(list)
    for sweep in sweeps:
        of_id[sweep.id].append(sweep.name)
    for names in of_id.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} are one sweep, of which the folder was copied"


def _mixed(sweeps: list[SweepResults]) -> Iterator[str]:
    """Yield data sets and backbones that changed while a sweep ran."""
    for sweep in sweeps:
        weights: dict[str, set[str]] = defaultdict(set)
        pixels: dict[tuple[str, str], set[str]] = defaultdict(set)
        splits: dict[tuple[str, float, int], set[str]] = defaultdict(set)
        for cell in sweep.cells:
            for record in cell.confirmations:
                known = {name: str(v) for name, v in record.facts.items() if v is not None}
                weights[cell.backbone] |= {known.get("weights_hash", "")} - {""}
                pixels[cell.dataset, cell.backbone] |= {known.get("pixels", "")} - {""}
                split = (cell.dataset, cell.train_fraction, record.number)
                splits[split] |= {known.get("split_fingerprint", "")} - {""}
        mixed = {f"the weights of {name}" for name, found in weights.items() if len(found) > 1}
        mixed |= {f"the pictures of {key[0]}" for key, found in pixels.items() if len(found) > 1}
        mixed |= {
            f"the labels or splits of {key[0]}" for key, found in splits.items() if len(found) > 1
        }
        for what in sorted(mixed):
            yield f"{what} changed while {sweep.name} ran: its results are of two kinds"


def find_odd_tests(cells: list[CellResult]) -> list[CellResult]:
    """Return the cells of one dataset of which some confirmations of folds are missing.

    They were tested on fewer samples than the others, so that they cannot be paired with them.
    """
    most = max((cell.tests for cell in cells), key=len, default=())
    return [cell for cell in cells if cell.tests != most]


def _with_tests(sweeps: list[SweepResults]) -> list[CellResult]:
    return [cell for sweep in sweeps for cell in sweep.cells if cell.confirmations]


def _tests_differ(dataset: str, cells: list[CellResult]) -> str | None:
    tests = _by_sweep(cells, lambda cell: frozenset(cell.tests))
    most = {name: max(found, key=len) for name, found in tests.items()}
    if len(set(most.values())) < 2:
        return None
    numbers = {cell.sweep: cell.fact("samples", {}).get("test", "?") for cell in cells}
    listed = ", ".join(f"{numbers[name]} in {name}" for name in most)
    return f"{dataset} was tested on different samples ({listed}): another split, or other data"


def _splits_differ(dataset: str, cells: list[CellResult]) -> str | None:
    """Compare labels and splits, among cells that learnt from the same share of the data."""
    of_fraction = _values(cells, lambda cell: (str(cell.train_fraction),), "split_fingerprint")
    return next(
        (
            f"{dataset} has other labels or another split into train and val in "
            f"{' than in '.join(found)}"
            for found in of_fraction
        ),
        None,
    )


def _pixels_differ(dataset: str, cells: list[CellResult]) -> str | None:
    """Compare pixels, among cells that saw the images in the same way."""

    def view(cell: CellResult) -> tuple[str, ...]:
        size = cell.fact("image_size", cell.confirmations[0].params.get("image_size"))
        return cell.model, str(cell.train_fraction), str(size)

    found = next(iter(_values(cells, view, "fingerprint")), None)
    if found is None:
        return None
    return f"{dataset} has other pixels (another fingerprint) in {' than in '.join(found)}"


def _values(
    cells: list[CellResult], alike: Callable[[CellResult], tuple[str, ...]], fact: str
) -> list[list[str]]:
    """Return the names of sweeps that differ in a fact of cells that are otherwise alike."""
    differing = []
    kinds: dict[tuple[str, ...], list[CellResult]] = defaultdict(list)
    for cell in cells:
        if cell.fact(fact) is not None:
            kinds[alike(cell)].append(cell)
    for same in kinds.values():
        of_sweep = _by_sweep(same, lambda cell: str(cell.fact(fact)))
        firsts = {name: min(values) for name, values in of_sweep.items()}
        if len(set(firsts.values())) > 1:
            differing.append(list(firsts))
    return differing


def _by_sweep(
    cells: list[CellResult], value: Callable[[CellResult], Value]
) -> dict[str, set[Value]]:
    found: dict[str, set[Value]] = defaultdict(set)
    for cell in cells:
        found[cell.sweep].add(value(cell))
    return found
