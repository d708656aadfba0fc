"""From sweeps to text: the comparison in one of its formats."""

import tempfile
from pathlib import Path

from sweep.base.atomic import write_atomically, write_text
from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison
from sweep.comparison.formats import latex, tables
from sweep.errors import SweepError, nearest
from sweep.records.results import SweepResults
from sweep.train.metrics import all_metrics

FORMATS = ("table", "markdown", "latex", "csv", "json", "parquet")


def check_choices(sweeps: list[SweepResults], metric: str | None, margin: float | None) -> Choices:
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


def require_format(style: str, output: Path | None) -> None:
    """Raise SweepError for an unknown format, and for Parquet without a file."""
    _require(style, FORMATS, "format")
    if style == "parquet" and output is None:
        raise SweepError("parquet is not for a terminal: say --output FILE.parquet")


def require_scores(comparison: Comparison) -> None:
    """Raise SweepError if no cell has a scored confirmation."""
    if not any(row.metrics for row in comparison.rows):
        names = ", ".join(sweep.name for sweep in comparison.sweeps)
        why = "".join(f"\n  {note}" for note in comparison.notes)
        raise SweepError(f"nothing to compare yet: no cell of {names} is confirmed{why}")


def write(comparison: Comparison, style: str, output: Path) -> None:
    """Write the comparison as a file; raises SweepError for an unknown format."""
    require_format(style, output)
    if style != "parquet":
        write_text(output, f"{render(comparison, style)}\n")
        return
    from sweep.comparison.formats import frames

    frame = frames.table(comparison)
    write_atomically(output, lambda file: frame.to_parquet(file, index=False))


def answer(comparison: Comparison) -> str:
    """Return the sentences of a comparison, and what weakens them, as Markdown."""
    text = tables.markdown_sentences(comparison)
    notes = "\n".join(f"- {note}" for note in caveats(comparison))
    return f"{text}\n\n**Notes**\n\n{notes}" if notes else text


def log_report(comparison: Comparison, report: Path) -> list[str]:
    """Keep a report with the runs of each sweep in MLflow; return why where that fails.

    A report of one sweep is what its experiment's description says, too.
    """
    from sweep.tracking import runs
    from sweep.tracking.experiment import REPORT

    sweeps, problems = comparison.sweeps, []
    said = None if comparison.several else answer(comparison)
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / REPORT
        named.write_bytes(report.read_bytes())
        for sweep in sweeps:
            at = (sweep.name, sweep.id, sweep.tracking_uri)
            if reason := runs.log_report(*at, named, said):
                problems.append(f"the report is not in MLflow at {sweep.tracking_uri}: {reason}")
    return problems


def render(comparison: Comparison, style: str, width: int | None = None) -> str:
    """Return the comparison in one of the formats that are text; raises SweepError for others."""
    require_format(style, None)
    if style == "table":
        return tables.terminal(comparison, width)
    if style == "markdown":
        return tables.markdown(comparison)
    if style == "latex":
        return latex.latex(comparison)
    from sweep.comparison.formats import frames  # this module imports pandas, which takes a second

    return frames.csv(comparison) if style == "csv" else frames.as_json(comparison)


def _require(value: str, allowed: tuple[str, ...], option: str) -> None:
    if value not in allowed:
        raise SweepError(
            f"unknown {option} {value!r}; allowed: {', '.join(allowed)}{nearest(value, allowed)}"
        )
