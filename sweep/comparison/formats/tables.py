"""The comparison as a table for the terminal and for Markdown, with its sentences below."""

import io
import math
from collections.abc import Sequence

from rich import box
from rich.console import Console

from sweep.base.tables import Column, Line, TableStyle, fit_table
from sweep.comparison.caveats import positive_classes
from sweep.comparison.comparison import Comparison, Pair, Row
from sweep.comparison.costs import cheapest_sentence, cost
from sweep.comparison.external import external_sentences
from sweep.comparison.published import PublishedResult
from sweep.comparison.questions import questions
from sweep.comparison.stats.difference import Interval
from sweep.comparison.subgroups import subgroup_sentences
from sweep.comparison.text import (
    TRAINED_HERE,
    count,
    flops,
    interval,
    join_names,
    losses,
    number,
    seconds,
    title,
)

# The usual order in a paper's table; the metric that ranks is put first.
REPORTED = ("auroc", "accuracy", "balanced_accuracy", "precision", "recall", "f1")
ORDINAL = ("quadratic_kappa", "mae")  # where classes have an order
_LOSSES_SHOWN = 4
_PIPE_WIDTH = 1000  # a file or a pipe has room for all columns


def columns(comparison: Comparison, reported: Sequence[str] = REPORTED) -> list[str]:
    """Return the metrics that a table for people shows: the one that ranks first."""
    of_order = [name for name in ORDINAL if any(name in row.metrics for row in comparison.rows)]
    return list(dict.fromkeys([comparison.choices.metric, *of_order, *reported]))


def best_rows(comparison: Comparison) -> list[Row]:
    """Return the best row of each dataset that has one."""
    return [rows[0] for rows in comparison.datasets.values() if rows]


def best_sentence(comparison: Comparison, dataset: str) -> str:
    """Say which cell wins a dataset, and which cannot be told from it."""
    rows, metric = comparison.datasets[dataset], comparison.choices.metric
    best = rows[0]
    if math.isnan(best.metrics[metric].mean):
        return f"{dataset}: {title(metric)} has no meaning on a test split of one class."
    text = f"{dataset}: {best.label} has the highest test score, "
    if comparison.choices.sign < 0:
        text = f"{dataset}: {best.label} has the lowest test score, "
    text += f"{title(metric)} {interval(best.metrics[metric])}"
    if len(rows) == 1:
        return f"{text}."
    if best not in comparison.paired[dataset]:
        return f"{text}; it was tested on fewer samples than others."
    rivals = comparison.rivals(best)
    if not rivals:
        return f"{text}; it is better than every other cell {TRAINED_HERE}."
    return f"{text}{_against_rivals(best, rivals)}."


def _against_rivals(best: Row, rivals: list[Pair]) -> str:
    """Say which cells the best is not better than, and what either loses in other metrics."""
    openings = {
        "equivalent": "it is equivalent within the margin to",
        "unclear": "the data cannot tell it from",
        "unjudged": "there is no verdict on it and",
    }
    text = ""
    for word, start in openings.items():
        names = [_other(pair, best).label for pair in rivals if pair.of(best).word == word]
        if names:
            text += f"; {start} {join_names(names)}"
    lost = [(_other(pair, best).label, pair.lost_by(_other(pair, best))) for pair in rivals]
    for pair in rivals:
        if pair.lost_by(best):
            name = f"{best.label}, beside {_other(pair, best).label},"
            lost.append((name, pair.lost_by(best)))
    return text + losses([item for item in lost if item[1]][:_LOSSES_SHOWN])


def _other(pair: Pair, row: Row) -> Row:
    return pair.second if pair.first is row else pair.first


def sentences(comparison: Comparison) -> dict[str, list[str]]:
    """Return what the comparison says, under headings: cells, costs, then the questions."""
    names = [name for name, rows in comparison.datasets.items() if rows]
    cheapest = [text for name in names if (text := cheapest_sentence(comparison, name))]
    found = {"Which cell is best?": [best_sentence(comparison, name) for name in names]}
    if cheapest:
        found["Which is the cheapest that is as good?"] = cheapest
    found["How do the models do elsewhere?"] = external_sentences(comparison)
    found["Do they do alike for all subgroups?"] = subgroup_sentences(comparison)
    found["What have others published? (nothing is tested against it)"] = [
        _published(item) for name in names for item in comparison.published_of(name)
    ]
    for item in questions(comparison):
        found[item.asked] = [item.answer, *(finding.text for finding in item.overall)]
    return {heading: lines for heading, lines in found.items() if lines}


def _published(item: PublishedResult) -> str:
    score = interval(Interval(item.value, item.low, item.high))
    return f"{item.dataset}: {item.label} {title(item.metric)} {score} ({item.source})."


def describe_test(rows: list[Row]) -> str:
    """Say what the scores are of."""
    folded = [row.cell.folded for row in rows if row.metrics]
    if folded and all(folded):
        return "predictions of all folds, pooled"
    return "test split, mean over confirmations" + (
        " (or all folds, pooled)" if any(folded) else ""
    )


def terminal(comparison: Comparison, width: int | None) -> str:
    """Return a table for the terminal, coloured if it has a width, and the sentences."""
    rows = comparison.rows
    # A terminal has room for the metric that ranks and the two best known ones.
    shown = columns(comparison, ("accuracy", "f1"))
    heads = (["Sweep"] if comparison.several else []) + ["Dataset", "Backbone", "Freeze"]
    columns_shown = [Column(name, justify="left") for name in heads]
    columns_shown += [Column(title(name), place) for place, name in enumerate(shown)]
    columns_shown += [
        Column("Learning\nrate", 3),
        Column("Trials\n(pruned)", 4),
        Column("Conf.", 5),
        Column("Training", 6),
    ]
    best, lines = best_rows(comparison), []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        values = [interval(row.metrics.get(name), "\n") for name in shown]
        ends = following is None or following.cell.dataset != row.cell.dataset
        style = "bold green" if any(row is item for item in best) else ""
        lines.append(Line([*_names(comparison, row), *values, *_search(row)], style, ends))
    caption = f"{describe_test(rows)} [95 % interval]{_positive_note(comparison)}"
    layout = TableStyle(None, caption, box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    buffer, room = io.StringIO(), width or _PIPE_WIDTH
    console = Console(file=buffer, width=room, force_terminal=width is not None)
    console.print(fit_table(columns_shown, lines, room, layout))
    for heading, texts in sentences(comparison).items():
        console.print(heading, style="bold", highlight=False, markup=False, soft_wrap=True)
        for text in texts:
            console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)
    return buffer.getvalue().rstrip("\n")


def markdown(comparison: Comparison) -> str:
    """Return a Markdown table of quality and cost, and the sentences as a list."""
    metric = comparison.choices.metric
    shown = columns(comparison)
    heads = (["Sweep"] if comparison.several else []) + ["Dataset", "Backbone", "Freeze"]
    heads += [title(name) for name in shown]
    heads += [f"{title(metric)} SD over confirmations", "Learning rate"]
    heads += ["Trials (pruned)", "Confirmations"]
    heads += ["Training", "Work", "Parameters", "Trainable", "Memory MiB", "Images/s"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in comparison.rows:
        values = [*_names(comparison, row), *(interval(row.metrics.get(name)) for name in shown)]
        values += [number(row.spread.get(metric)), *_search(row), *_size(row)]
        lines.append(f"| {' | '.join(map(_in_cell, values))} |")
    if named := positive_classes(comparison):
        lines += ["", f"Positive class: {', '.join(named)}."]
    return "\n".join([*lines, "", markdown_sentences(comparison)])


def markdown_sentences(comparison: Comparison) -> str:
    """Return the sentences as Markdown, a list below each question."""
    parts = [
        "\n".join([f"**{heading}**", "", *(f"- {text}" for text in texts)])
        for heading, texts in sentences(comparison).items()
    ]
    return "\n\n".join(parts)


def _positive_note(comparison: Comparison) -> str:
    named = positive_classes(comparison)
    return f"; positive class: {join_names(named)}" if named else ""


def _names(comparison: Comparison, row: Row) -> list[str]:
    own = [row.cell.sweep] if comparison.several else []
    return [*own, row.cell.dataset, row.cell.backbone, row.cell.mode]


def _search(row: Row) -> list[str]:
    cell, rate = row.cell, row.cell.learning_rate
    lost = [f"{cell.states[s]} {s}" for s in ("diverged", "failed") if cell.states[s]]
    trials = ", ".join([f"{cell.states.total()} ({cell.states['pruned']})", *lost])
    chosen = f"{rate:.2g}" if rate else "-"
    return [chosen, trials, str(len(cell.confirmations)), seconds(cell.seconds)]


def _size(row: Row) -> list[str]:
    spent = cost(row.cell)
    return [
        flops(spent.total_flops),
        count(spent.parameters),
        count(spent.trainable),
        number(spent.memory_mib, 0),
        number(spent.images_per_s, 1),
    ]


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")
