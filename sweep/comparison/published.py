"""Published numbers beside ours: read from a table, shown as what they are, and never tested.

They are of other splits, other preprocessing and other choices: a difference from ours says
nothing that an interval could qualify.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from sweep.data.io.csvfile import read_csv, row_of
from sweep.errors import SweepError, listing, nearest
from sweep.train.metrics import all_metrics

COLUMNS = ("source", "dataset", "backbone", "mode", "metric", "value")


@dataclass(frozen=True)
class PublishedResult:
    """One published number.

    Attributes:
        source: who has published it, as it is to be cited.
        mode: how it was trained: a freeze mode, or in words.
        low, high: of its interval; NaN where none was published.
    """

    source: str
    dataset: str
    backbone: str
    mode: str
    metric: str
    value: float
    low: float
    high: float

    @property
    def label(self) -> str:
        """Backbone and mode, as our cells are named."""
        return f"{self.backbone}/{self.mode}"


def read_published(path: Path) -> list[PublishedResult]:
    """Read a CSV table of published numbers, with the columns `COLUMNS`, low and high.

    Raises:
        SweepError: it is no such table, or values are none that their metrics can have.
    """
    try:
        table = read_csv(path)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SweepError(f"--against {path} is not a CSV table: {reason}") from None
    if absent := [name for name in COLUMNS if name not in table]:
        there = ", ".join(map(repr, table.columns))
        raise SweepError(f"--against {path} has no column {absent[0]!r}; it has {there}")
    found, problems = [], []
    for index, row in table.iterrows():
        try:
            item = _result({str(name): str(value) for name, value in row.items()})
            _check(item)
            found.append(item)
        except ValueError as error:
            problems.append(f"row {row_of(index)}: {error}")
    if problems:
        raise SweepError(f"--against {path}: {len(problems)} rows are wrong:\n{listing(problems)}")
    return found


def _result(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        row["source"], row["dataset"], row["backbone"], row["mode"], row["metric"],
        _number(row["value"]), _number(row.get("low", "")), _number(row.get("high", "")),
    )  # fmt: skip


def _number(text: str) -> float:
    return float(text) if text.strip() else math.nan


def _check(item: PublishedResult) -> None:
    metrics = all_metrics()
    if item.metric not in metrics:
        raise ValueError(f"unknown metric {item.metric!r}{nearest(item.metric, metrics)}")
    low = metrics[item.metric].low
    values = [value for value in (item.value, item.low, item.high) if not math.isnan(value)]
    if math.isnan(item.value) or any(not low <= value <= 1 for value in values):
        raise ValueError(f"{item.metric} of {item.value:g} must lie between {low:g} and 1")
    if item.low > item.value or item.high < item.value:
        raise ValueError(f"its interval does not hold the value {item.value:g}")
