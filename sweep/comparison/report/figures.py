"""The figures of the report: one function a kind, from rows to SVG."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from sweep.comparison.budgets import best_values, expected_best
from sweep.comparison.comparison import Choices, Row
from sweep.comparison.costs import cost, work
from sweep.comparison.operating import decision_curve, treat_all
from sweep.comparison.published import PublishedResult
from sweep.comparison.ranks import Ranks
from sweep.comparison.report.svg import (
    COLOURS,
    INK,
    LINE,
    as_svg,
    grid,
    panel,
    plain_numbers,
    style,
)
from sweep.comparison.text import title
from sweep.data.manifest import positives
from sweep.space.domains import Categorical, Domain, Value, in_words
from sweep.train.metrics.base import Floats, Labels
from sweep.train.metrics.ece import CALIBRATION_BINS, calibration_gaps, two_sided
from sweep.train.metrics.ranks import sided

_ROC_POINTS = 60
_MOST_CURVES = 20


def forest(
    dataset: str, rows: list[Row], choices: Choices, published: Sequence[PublishedResult] = ()
) -> str:
    """Draw each cell's metric with its interval, and a mark for each confirmation.

    Published numbers are grey diamonds: on the line of the cell of that name, else on their own.
    """
    metric, labels = choices.metric, [row.label for row in rows]
    lines = labels + [f"{p.label} ({p.source})" for p in published if p.label not in labels]
    places = {name: place for place, name in enumerate(dict.fromkeys(lines))}
    with style():
        figure, axes = panel(7, 0.5 + 0.24 * len(places))
        for place, row in enumerate(rows):
            item = row.metrics[metric]
            axes.plot([item.low, item.high], [place, place], color=COLOURS[0], linewidth=2)
            axes.plot(item.mean, place, "o", color=COLOURS[0], markersize=5)
            seeds = [record.test.get(metric) for record in row.cell.confirmations]
            found = [value for value in seeds if value is not None]
            axes.plot(found, [place] * len(found), "|", color=INK, markersize=7)
        for other in published:
            own = other.label if other.label in labels else f"{other.label} ({other.source})"
            axes.plot([other.low, other.high], [places[own]] * 2, color=LINE, linewidth=1)
            axes.plot(other.value, places[own], "D", color=LINE, markersize=4)
        axes.set_yticks(range(len(places)), list(places))
        axes.invert_yaxis()
        grey = "; grey: published" if published else ""
        axes.set_xlabel(f"{title(metric)} on test, 95 % interval; | a confirmation{grey}")
        return as_svg(figure, f"{dataset}: {title(metric)} of each cell with its interval")


def cost_and_quality(dataset: str, rows: list[Row], front: list[Row], choices: Choices) -> str:
    """Draw quality over work; the line joins the cells that none beats in both."""
    metric = choices.metric
    counted = all(cost(row.cell).total_flops is not None for row in rows)
    unit, name = (1e12, "TFLOP") if counted else (1.0, "seconds")
    with style():
        figure, axes = panel(7, 3)
        for row in rows:
            item, spent = row.metrics[metric], max(work(row.cell) / unit, 1e-6)
            colour = COLOURS[0] if row in front else LINE
            axes.plot([spent, spent], [item.low, item.high], color=colour, linewidth=1, alpha=0.5)
            axes.plot(spent, item.mean, "o", color=colour, markersize=5)
            axes.annotate(
                row.label, (spent, item.mean), (4, 3), textcoords="offset points", fontsize=6.5
            )
        points = [(max(work(r.cell) / unit, 1e-6), r.metrics[metric].mean) for r in front]
        axes.plot(*zip(*points, strict=True), color=COLOURS[0], linewidth=1, linestyle="--")
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
        axes.margins(x=0.15)
        axes.set_xlabel(f"{name} of the search and one training")
        axes.set_ylabel(title(metric))
        return as_svg(figure, f"{dataset}: {title(metric)} against work, and the Pareto front")


def search_response(
    dataset: str, rows: list[Row], name: str, domain: Domain, objective: str
) -> str | None:
    """Draw the validation score of every trial over one hyper-parameter, a panel a cell.

    Cells that had one value of it alone have no panel; None if there is no other cell.
    """
    rows = [row for row in rows if len({t.params.get(name) for t in row.cell.trials}) > 1]
    if not rows:
        return None
    with style():
        figure, panels = grid(len(rows))
        for axes, row in zip(panels, rows, strict=True):
            place = _places(axes, domain, [t.params[name] for t in row.cell.trials])
            for state, marker, filled in (("complete", "o", True), ("pruned", "o", False)):
                found = [t for t in row.cell.trials if t.state == state and t.best]
                axes.plot(
                    [place(t.params[name]) for t in found],
                    [t.best["value"] for t in found],
                    marker,
                    color=COLOURS[0],
                    fillstyle="full" if filled else "none",
                )
            lost = [t for t in row.cell.trials if not t.best]
            axes.plot(
                [place(t.params[name]) for t in lost],
                [0.02] * len(lost),
                "x",
                color=COLOURS[1],
                transform=axes.get_xaxis_transform(),
            )
            if (chosen := row.cell.chosen(name)) is not None:
                axes.axvline(place(chosen), color=COLOURS[2], linewidth=1)
            axes.set_title(row.label)
        figure.supxlabel(in_words(name), fontsize=8)
        figure.supylabel(f"best val/{objective}", fontsize=8)
        return as_svg(
            figure, f"{dataset}: validation score of every trial over its {in_words(name)}"
        )


def _places(axes: Any, domain: Domain, tried: list[Value]) -> Callable[[Value], float]:
    """Set the x axis of a hyper-parameter; return where a value of it lies."""
    if isinstance(domain, Categorical):
        axes.set_xticks(range(len(domain.root)), [str(value) for value in domain.root])
        axes.set_xlim(-0.5, len(domain.root) - 0.5)
        return lambda value: float(domain.root.index(value))
    numbers = [float(value) for value in tried]
    low, high = min(domain.low, *numbers), max(domain.high, *numbers)
    if domain.log:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
    else:
        axes.set_xlim(low - (high - low) / 20, high + (high - low) / 20)
    plain_numbers(axes.xaxis)
    return float


def training_curves(dataset: str, rows: list[Row], name: str, logarithmic: bool = False) -> str:
    """Draw a metric of each epoch for every confirmed model, a panel a cell, a line a confirmation.

    ``loss`` draws those of training (dashed) and validation.
    """
    names = ("val/loss", "train/loss") if name == "loss" else (name,)
    with style():
        figure, panels = grid(len(rows), own_scales=True)
        for axes, row in zip(panels, rows, strict=True):
            for place, record in enumerate(row.cell.confirmations):
                history = row.cell.fetch_history(record)
                for metric in names:
                    points = [(e["epoch"], e[metric]) for e in history if metric in e]
                    if points:
                        line = "--" if metric == "train/loss" else "-"
                        colour = COLOURS[place % len(COLOURS)]
                        axes.plot(*zip(*points, strict=True), line, color=colour, linewidth=0.9)
            axes.set_title(row.label)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if logarithmic:
                axes.set_yscale("log")
                plain_numbers(axes.yaxis)
        figure.supxlabel("epoch", fontsize=8)
        figure.supylabel(name, fontsize=8)
        return as_svg(figure, f"{dataset}: {name} by epoch of every confirmed model")


def roc_curves(dataset: str, rows: list[Row]) -> str:
    """Draw the ROC curve of each class against the rest, a panel a cell, confirmations together."""
    with style():
        figure, panels = grid(len(rows), 1.55, beside=1.4)
        for axes, row in zip(panels, rows, strict=True):
            seeds = row.cell.predictions()
            labels_N = np.concatenate([item.labels_N for item in seeds])
            scores_NC = np.concatenate([item.probabilities_NC for item in seeds])
            for place, index in enumerate(_most_frequent(labels_N, scores_NC.shape[1])):
                positive_N = positives(labels_N, index)
                if 0 < positive_N.sum() < len(labels_N):
                    false_P, true_P, _ = roc_curve(positive_N, scores_NC[:, index])
                    kept = _thin(false_P, true_P)
                    axes.plot(
                        false_P[kept],
                        true_P[kept],
                        color=COLOURS[place % len(COLOURS)],
                        linewidth=0.9,
                        label=row.cell.classes[index],
                    )
            axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.5)
            axes.set_title(row.label)
            axes.set_aspect("equal")
        if len(panels[0].get_lines()) <= 1 + len(COLOURS):
            _shared_legend(figure, panels[0])
        figure.supxlabel("false positive rate", fontsize=8)
        figure.supylabel("true positive rate", fontsize=8)
        many = scores_NC.shape[1] > _MOST_CURVES
        which = f"the {_MOST_CURVES} largest classes" if many else "each class"
        return as_svg(figure, f"{dataset}: ROC curves of {which} against the rest")


def _most_frequent(labels_N: Labels, classes: int) -> list[int]:
    """Return the classes to draw, in their order: of many those with the most samples."""
    drawn = list(sided(classes, labels_N.ndim == 2))
    counts = [positives(labels_N, index).sum() for index in range(classes)]
    return sorted(sorted(drawn, key=lambda index: -counts[index])[:_MOST_CURVES])


def reliability(dataset: str, rows: list[Row]) -> str:
    """Draw how often the predicted class is right over how sure the model was, a panel a cell."""
    with style():
        figure, panels = grid(len(rows), 1.55)
        for axes, row in zip(panels, rows, strict=True):
            for place, item in enumerate(row.cell.predictions()):
                labels_N, probabilities_NC = item.labels_N, item.probabilities_NC
                if labels_N.ndim == 2:  # all labels together, each of which is there or not
                    labels_N = labels_N.ravel()
                    probabilities_NC = two_sided(probabilities_NC.ravel())
                gaps_N, bins_N = calibration_gaps(labels_N, probabilities_NC)
                confidence_N = probabilities_NC.max(axis=1)
                counts = np.bincount(bins_N, minlength=CALIBRATION_BINS)
                there = counts > 0
                sums = np.bincount(bins_N, weights=confidence_N, minlength=CALIBRATION_BINS)
                gaps = np.bincount(bins_N, weights=gaps_N, minlength=CALIBRATION_BINS)
                confidence = sums[there] / counts[there]
                colour = COLOURS[place % len(COLOURS)]
                right = confidence + gaps[there] / counts[there]
                axes.plot(confidence, right, "o-", color=colour, linewidth=0.8, markersize=2.5)
            axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.5)
            axes.set_title(row.label)
            axes.set_aspect("equal")
        figure.supxlabel("confidence", fontsize=8)
        figure.supylabel("share that is right", fontsize=8)
        return as_svg(figure, f"{dataset}: reliability of the predicted probabilities")


def decision_curves(dataset: str, rows: list[Row]) -> str | None:
    """Draw the net benefit over the threshold probability, a line a cell; None for many classes."""
    rows = [row for row in rows if row.cell.has_positive]
    if not rows:
        return None
    with style():
        figure, axes = panel(7, 3)
        labels_N = np.concatenate([item.labels_N for item in rows[0].cell.predictions()])
        prevalence = float((labels_N == 1).mean())
        for place, row in enumerate(rows):
            curves = [decision_curve(item) for item in row.cell.predictions()]
            axes.plot(
                curves[0][0],
                np.mean([benefit for _, benefit in curves], axis=0),
                ("-", "--", ":")[place // len(COLOURS) % 3],
                color=COLOURS[place % len(COLOURS)],
                linewidth=0.9,
                label=row.label,
            )
        axes.plot(curves[0][0], treat_all(prevalence), color=LINE, linewidth=1)
        axes.axhline(0, color=LINE, linewidth=1)
        axes.set_ylim(-0.05, 1.05 * prevalence)
        axes.set_xlabel("threshold probability")
        axes.set_ylabel("net benefit")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return as_svg(figure, f"{dataset}: net benefit over the threshold probability")


def expected_scores(dataset: str, rows: list[Row], fewest: int, objective: str) -> str:
    """Draw the expected best validation score over the number of trials, a line a cell."""
    with style():
        figure, axes = panel(7, 3)
        for place, row in enumerate(rows):
            if len(values := best_values(row.cell.trials)):
                curve = expected_best(values)
                axes.plot(
                    range(1, len(curve) + 1),
                    curve,
                    ("-", "--", ":")[place // len(COLOURS) % 3],
                    color=COLOURS[place % len(COLOURS)],
                    marker="." if len(curve) < 3 else None,
                    label=row.label,
                )
        axes.axvline(fewest, color=LINE, linewidth=1)
        axes.set_xlabel("trials")
        axes.set_ylabel(f"expected best val/{objective}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return as_svg(figure, f"{dataset}: expected best validation score over trials")


def learning_curves(dataset: str, rows: list[Row], choices: Choices) -> str | None:
    """Draw the metric over the train fraction, a line a backbone and mode; None for one only."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(f"{row.cell.backbone}/{row.cell.freeze}", []).append(row)
    lines = {label: found for label, found in lines.items() if len(found) > 1}
    if not lines:
        return None
    with style():
        figure, axes = panel(7, 3)
        for place, (label, found) in enumerate(lines.items()):
            found.sort(key=lambda row: row.cell.train_fraction)
            fractions = [row.cell.train_fraction for row in found]
            items = [row.metrics[choices.metric] for row in found]
            colour = COLOURS[place % len(COLOURS)]
            means = [item.mean for item in items]
            axes.plot(fractions, means, "o-", color=colour, label=label)
            low, high = [item.low for item in items], [item.high for item in items]
            axes.fill_between(fractions, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        ticks = sorted({row.cell.train_fraction for found in lines.values() for row in found})
        axes.set_xticks(ticks, [f"{fraction:g}" for fraction in ticks])
        axes.minorticks_off()
        axes.set_xlabel("part of the training set")
        axes.set_ylabel(title(choices.metric))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return as_svg(figure, f"{dataset}: {title(choices.metric)} over the training set's size")


def critical_distance(found: Ranks) -> str:
    """Draw the average ranks; a bar joins methods that the Nemenyi test cannot tell apart."""
    from scikit_posthocs import critical_difference_diagram

    with style():
        figure, axes = panel(7, 0.8 + 0.16 * len(found.average))
        critical_difference_diagram(
            found.average,
            found.nemenyi,
            ax=axes,
            label_props={"fontsize": 7},
            crossbar_props={"color": COLOURS[1], "linewidth": 2},
            color_palette=dict.fromkeys(found.average.index, INK),
        )
        axes.grid(visible=False)
        return as_svg(figure, "Average ranks over the datasets; bars join what is not different")


def _thin(false_P: Floats, true_P: Floats) -> Floats:
    """Return which points of a curve to draw: evenly along it."""
    steps = np.hypot(np.diff(false_P, prepend=0), np.diff(true_P, prepend=0))
    along = np.cumsum(steps)
    wanted = np.linspace(0, along[-1], min(_ROC_POINTS, len(along)))
    return np.unique(np.append(np.searchsorted(along, wanted), len(along) - 1)).clip(
        max=len(along) - 1
    )


def _shared_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc="upper right")
