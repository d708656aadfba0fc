"""The comparison as a table for the terminal, Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.compare.results import CellResult
from sweep.compare.statistics import REPORTED, Interval, intervals

FORMATS = ("table", "markdown", "latex", "csv", "json")
_LATEX = ("accuracy", "precision", "recall", "f1")
_TITLES = {"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "mcc": "MCC"}


@dataclass(frozen=True)
class Row:
    """A cell and its metrics; none if the cell has no scored confirmation."""

    cell: CellResult
    metrics: dict[str, Interval]


def compared(cells: list[CellResult], metric: str) -> list[Row]:
    """Compute the intervals of every cell, for the reported metrics and `metric`."""
    metrics = tuple(dict.fromkeys((*REPORTED, metric)))

    def row(cell: CellResult) -> Row:
        return Row(cell, intervals(cell.predictions(), metrics))

    with ThreadPoolExecutor() as pool:  # numpy releases the interpreter
        return list(pool.map(row, cells))


def render(rows: list[Row], metric: str, style: str, width: int | None = None) -> str:
    """Return the comparison in one of FORMATS, each dataset's best by `metric` first."""
    datasets = list(dict.fromkeys(row.cell.dataset for row in rows))
    ordered = sorted(rows, key=lambda r: (datasets.index(r.cell.dataset), -_rank(r, metric)))
    if style == "json":
        return _json(ordered, metric)
    if style == "csv":
        return _csv(ordered)
    if style == "latex":
        return _latex(ordered)
    if style == "markdown":
        return _markdown(ordered, metric)
    return _table(ordered, metric, width)


def title(metric: str) -> str:
    """Return a metric's name as people write it."""
    return _TITLES.get(metric, metric.replace("_", " ").capitalize())


def _rank(row: Row, metric: str) -> float:
    return row.metrics[metric].mean if metric in row.metrics else float("-inf")


def _best_of_each(rows: list[Row], metric: str) -> list[Row]:
    best: dict[str, Row] = {}
    for row in rows:
        if row.metrics and row.cell.dataset not in best:
            best[row.cell.dataset] = row
    return list(best.values())


def _columns(metric: str) -> list[str]:
    return [metric, *(name for name in REPORTED if name != metric)]


def _number(interval: Interval | None, line_break: str = " ") -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:.3f}{line_break}[{interval.low:.3f}, {interval.high:.3f}]"


def _sweep_column(rows: list[Row]) -> bool:
    return len({row.cell.sweep for row in rows}) > 1


def _cost(row: Row) -> list[str]:
    cell, rate = row.cell, row.cell.learning_rate
    lost = [f"{cell.states[s]} {s}" for s in ("diverged", "failed") if cell.states[s]]
    trials = ", ".join([f"{cell.states.total()} ({cell.states['pruned']})", *lost])
    return [f"{rate:.2g}" if rate else "-", trials, str(len(cell.confirmations)), _time(cell)]


def _time(cell: CellResult) -> str:
    seconds = cell.seconds
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _table(rows: list[Row], metric: str, width: int | None) -> str:
    # A terminal has room for the metric that chooses and the two that everybody knows.
    shown = _columns(metric)[:1] + [name for name in ("accuracy", "f1") if name != metric]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=escape(f"{_tested(rows)} [95 % bootstrap interval]"),
        caption_justify="left",
    )
    sweeps = _sweep_column(rows)
    for name in (["Sweep"] if sweeps else []) + ["Dataset", "Backbone", "Freeze"]:
        table.add_column(name, overflow="fold")
    for name in shown:
        table.add_column(title(name), justify="right", no_wrap=True)
    for name in ("Rate", "Trials\n(pruned)", "Seeds", "Training"):
        table.add_column(name, justify="right")
    best = _best_of_each(rows, metric)
    for row in rows:
        cell = row.cell
        names = ([cell.sweep] if sweeps else []) + [cell.dataset, cell.backbone, cell.mode]
        values = [_number(row.metrics.get(name), "\n") for name in shown]
        style = "bold green" if any(row is item for item in best) else ""
        end = row is rows[-1] or rows[rows.index(row) + 1].cell.dataset != cell.dataset
        table.add_row(
            *(escape(text) for text in (*names, *values, *_cost(row))),
            style=style,
            end_section=end,
        )
    buffer = io.StringIO()
    console = Console(file=buffer, width=width or 120, force_terminal=width is not None)
    console.print(table)
    for row in best:
        console.print(_sentence(row, rows, metric), highlight=False, soft_wrap=True)
    return buffer.getvalue().rstrip("\n")


def _tested(rows: list[Row]) -> str:
    """Say what the scores are of."""
    folded = [row.cell.folded for row in rows if row.metrics]
    if folded and all(folded):
        return "predictions of all folds, pooled"
    return "test split, mean over seeds" + (" (or all folds, pooled)" if any(folded) else "")


def _sentence(best: Row, rows: list[Row], metric: str) -> str:
    """Say which cell wins a dataset, and how sure that is."""
    interval = best.metrics[metric]
    rivals = [
        row
        for row in rows
        if row is not best
        and row.cell.dataset == best.cell.dataset
        and row.metrics
        and row.metrics[metric].high >= interval.low
    ]
    name = f"{best.cell.backbone}/{best.cell.mode}"
    text = f"{escape(best.cell.dataset)}: [bold]{escape(name)}[/bold] is best on test, "
    text += f"{title(metric)} {_number(interval).replace('[', chr(92) + '[')}"
    if sum(row.cell.dataset == best.cell.dataset for row in rows) == 1:
        return f"{text}."
    if not rivals:
        return f"{text}; no other cell's interval reaches it."
    names = ", ".join(escape(f"{r.cell.backbone}/{r.cell.mode}") for r in rivals[:3])
    more = f" and {len(rivals) - 3} more" if len(rivals) > 3 else ""
    return f"{text}; the intervals of {names}{more} overlap with it."


def _markdown(rows: list[Row], metric: str) -> str:
    columns, sweeps = _columns(metric), _sweep_column(rows)
    heads = (["Sweep"] if sweeps else []) + ["Dataset", "Backbone", "Freeze"]
    heads += [title(name) for name in columns] + [
        "Learning rate",
        "Trials (pruned)",
        "Seeds",
        "Training",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        cell = row.cell
        values = ([cell.sweep] if sweeps else []) + [cell.dataset, cell.backbone, cell.mode]
        values += [_number(row.metrics.get(name)) for name in columns] + _cost(row)
        lines.append(f"| {' | '.join(value.replace('|', chr(92) + '|') for value in values)} |")
    return "\n".join(lines)


def _latex(rows: list[Row]) -> str:
    sweeps = _sweep_column(rows)
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' if sweeps else ''}lllcccc}}",
        r"\toprule",
        ("Sweep & " if sweeps else "")
        + r"Task & Model & Freeze & Accuracy & Precision & Recall & F1 \\",
    ]
    previous = None
    for row in rows:
        if row.cell.dataset != previous:
            lines.append(r"\midrule")
        task = row.cell.dataset if row.cell.dataset != previous else ""
        previous = row.cell.dataset
        own = [row.cell.sweep] if sweeps else []
        names = [_tex(name) for name in (*own, task, row.cell.backbone, row.cell.mode)]
        values = [_number(row.metrics.get(name)) for name in _LATEX]
        lines.append(" & ".join([*names, *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def _csv(rows: list[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = ["sweep", "dataset", "backbone", "freeze"]
    for name in REPORTED:
        heads += [name, f"{name}_low", f"{name}_high"]
    writer.writerow(
        [
            *heads,
            "learning_rate",
            "trials",
            "pruned",
            "failed",
            "seeds",
            "seconds",
            "train_fraction",
        ]
    )
    for row in rows:
        cell = row.cell
        values: list[Any] = [cell.sweep, cell.dataset, cell.backbone, cell.freeze]
        for name in REPORTED:
            interval = row.metrics.get(name)
            values += [interval.mean, interval.low, interval.high] if interval else ["", "", ""]
        writer.writerow([*values, *_costs(cell).values()])
    return buffer.getvalue().rstrip("\n")


def _costs(cell: CellResult) -> dict[str, Any]:
    return {
        "learning_rate": cell.learning_rate,
        "trials": cell.states.total(),
        "pruned": cell.states["pruned"],
        "failed": cell.states["failed"],
        "seeds": len(cell.confirmations),
        "seconds": round(cell.seconds, 2),
        "train_fraction": cell.train_fraction,
    }


def _json(rows: list[Row], metric: str) -> str:
    cells = [
        {
            "sweep": row.cell.sweep,
            "dataset": row.cell.dataset,
            "backbone": row.cell.backbone,
            "freeze": row.cell.freeze,
            "metrics": {name: vars(interval) for name, interval in row.metrics.items()},
            **_costs(row.cell),
        }
        for row in rows
    ]
    sweeps = list(dict.fromkeys(row.cell.sweep for row in rows))
    return json.dumps({"sweeps": sweeps, "metric": metric, "cells": cells}, indent=1)
