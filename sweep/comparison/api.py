"""From sweeps to text: the comparison in one of its formats."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sweep.base.atomic import write_atomically, write_text
from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison, compare
from sweep.comparison.formats import latex, tables
from sweep.errors import SweepError, nearest
from sweep.records.results import SweepResults
from sweep.train.metrics import all_metrics

FORMATS = ("table", "markdown", "latex", "csv", "json", "parquet")


def checked_choices(
    sweeps: list[SweepResults], metric: str | None, margin: float | None
) -> Choices:
    """Return the reader's choices; by default the first sweep's objective and margin.

    Raises SweepError for an unknown metric, or a margin that means nothing.
    """
    metric = metric or sweeps[0].space.objective
    _require(metric, tuple(all_metrics()), "metric")
    written = sweeps[0].space.margin
    chosen = written if margin is None else margin
    if not 0 < chosen < 1:
        raise SweepError(f"margin {chosen:g}: a difference between 0 and 1 that would not matter")
    return Choices(metric, chosen, any(sweep.space.margin != chosen for sweep in sweeps))


def compare_sweeps(
    sweeps: list[SweepResults],
    choices: Choices,
    style: str,
    output: Path | None,
    width: int | None = None,
) -> tuple[str, list[str]]:
    """Return the comparison as text, and what to know about it; write it to a file if asked.

    Raises SweepError for an unknown format, for Parquet without a file, and what `compare` does.
    """
    _require(style, FORMATS, "format")
    if style == "parquet" and output is None:
        raise SweepError("parquet is not for a terminal: say --output FILE.parquet")
    comparison = compare(sweeps, choices)
    require_scores(comparison)
    if style == "parquet":
        from sweep.comparison.formats import frames as tabular

        assert output is not None
        frame = tabular.table(comparison)
        write_atomically(output, lambda file: frame.to_parquet(file, index=False))
        return "", caveats(comparison)
    text = render(comparison, style, width)
    if output:
        write_text(output, f"{text}\n")
        return "", caveats(comparison)
    return text, caveats(comparison)


def require_scores(comparison: Comparison) -> None:
    """Raise SweepError if no cell has a scored confirmation."""
    if not any(row.metrics for row in comparison.rows):
        names = ", ".join(sweep.name for sweep in comparison.sweeps)
        why = "".join(f"\n  {note}" for note in comparison.notes)
        raise SweepError(f"nothing to compare yet: no cell of {names} is confirmed{why}")


def write_report(
    sweeps: list[SweepResults],
    choices: Choices,
    output: Path,
    track: bool,
    progress: Callable[[str], None],
) -> list[str]:
    """Write the report as one HTML file and keep it in MLflow; return what to know.

    Args:
        track: keep it with the runs of every sweep; where that fails is told, and no error.

    Raises what `compare_sweeps` does.
    """
    from sweep.comparison.report.page import report

    comparison = compare(sweeps, choices)
    require_scores(comparison)
    write_text(output, report(comparison, progress))
    notes = caveats(comparison)
    return notes + (_track(sweeps, output, progress) if track else [])


def _track(sweeps: list[SweepResults], output: Path, progress: Callable[[str], None]) -> list[str]:
    from sweep.tracking.runs import log_report

    progress("MLflow")
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "report.html"
        named.write_bytes(output.read_bytes())
        for sweep in sweeps:
            if problem := log_report(sweep.name, sweep.id, sweep.tracking_uri, named):
                notes.append(f"the report is not in MLflow at {sweep.tracking_uri}: {problem}")
    return notes


def render(comparison: Comparison, style: str, width: int | None = None) -> str:
    """Return the comparison in one of the formats that are text."""
    if style == "table":
        return tables.terminal(comparison, width)
    if style == "markdown":
        return tables.markdown(comparison)
    if style == "latex":
        return latex.latex(comparison)
    from sweep.comparison.formats import frames as tabular  # with pandas, which takes a moment

    return tabular.csv(comparison) if style == "csv" else tabular.as_json(comparison)


def _require(value: str, allowed: tuple[str, ...], option: str) -> None:
    if value not in allowed:
        raise SweepError(
            f"unknown {option} {value!r}; allowed: {', '.join(allowed)}{nearest(value, allowed)}"
        )
