"""What to know before trusting a number of a comparison."""

import math
from collections.abc import Callable

import numpy as np

from sweep.comparison.budgets import (
    ended_in_time,
    few_complete,
    find_less_searched,
    rates_at_an_edge,
)
from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.costs import describe_unlike_devices
from sweep.comparison.external import external_problems
from sweep.comparison.stats.difference import LEAST_CONFIRMATIONS, can_be_equivalent
from sweep.comparison.text import join_names, number, title
from sweep.errors import shorten
from sweep.space.names import is_frozen

_FEW_GROUPS = 10  # groups of the rarest class
_CALIBRATION_SAMPLES = 500  # with fewer samples the calibration error is too uncertain
_TOO_GOOD = 0.05  # distance of the validation score above the test interval


def caveats(comparison: Comparison) -> list[str]:
    """Return warnings: of test splits and confirmations, of the search, of devices."""
    of_each: tuple[Callable[[Comparison, str, list[Row]], str | None], ...] = (
        _few_groups,
        _at_a_bound,
        _no_equivalence,
        _calibration,
        _few_confirmations,
        _validation_unlike_test,
    )
    notes = list(comparison.notes)
    for name, rows in comparison.datasets.items():
        if rows:
            notes += [text for say in of_each if (text := say(comparison, name, rows))]
    notes += _confirmed_again(comparison)
    notes += _refitted(comparison)
    notes += [*few_complete(comparison), *find_less_searched(comparison)]
    notes += [*ended_in_time(comparison), *external_problems(comparison)]
    notes += _unknown_subgroups(comparison)
    notes += rates_at_an_edge(comparison.sweeps)
    elsewhere = {p.dataset for p in comparison.published} - set(comparison.datasets)
    if elsewhere:
        notes.append(f"published numbers of {shorten(sorted(elsewhere))} are of no data set here")
    if comparison.choices.chosen_after:
        notes.append(
            f"the margin of {comparison.choices.margin:g} was chosen after the run; the space has "
            f"{comparison.sweeps[0].space.margin:g}"
        )
    if text := describe_unlike_devices(comparison):
        notes.append(text)
    return notes


def _unknown_subgroups(comparison: Comparison) -> list[str]:
    """Say where the subgroups that a space asks for are not known."""
    asked = {(s.name, d.name) for s in comparison.sweeps for d in s.space.datasets if d.subgroups}
    cells = [row.cell for row in comparison.rows if row.metrics and not row.cell.subgroups]
    lacking = {cell.dataset for cell in cells if (cell.sweep, cell.dataset) in asked}
    return [
        f"{name}: its subgroups are not known here: they lie in the home where it was launched"
        for name in sorted(lacking)
    ]


def _few_groups(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    counts = rows[0].counts
    if counts is None or counts.groups_C.min() >= _FEW_GROUPS:
        return None
    place = int(np.argmin(counts.groups_C))
    return (
        f"{dataset}: the rarest class has {counts.groups_C[place]} groups (patients) in the test "
        f"split; with fewer than {_FEW_GROUPS} intervals may be too narrow"
    )


def _at_a_bound(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    metrics = list(dict.fromkeys((comparison.choices.metric, "accuracy")))
    perfect = {
        name: [row.label for row in rows if row.estimates[name].point in (0.0, 1.0)]
        for name in metrics
    }
    named = [f"{title(name)} of {join_names(labels)}" for name, labels in perfect.items() if labels]
    if not named:
        return None
    return (
        f"{dataset}: a score at its bound, {'; '.join(named)}: its interval rests on the number of "
        "test patients alone"
    )


def _no_equivalence(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    metric, margin = comparison.choices.metric, comparison.choices.margin
    judged = [pair for pair in comparison.pairs[dataset] if pair.verdict.word != "unjudged"]
    if not judged or can_be_equivalent(rows[0].estimates[metric].grain, margin):
        return None
    return (
        f"{dataset}: the test split is too small to call cells equivalent within {margin:g} "
        f"{title(metric)}: one patient of the rarest class weighs more or nearly so"
    )


def _calibration(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    counts = rows[0].counts
    if comparison.choices.metric != "ece" or counts is None:
        return None
    more = f"; with {counts.samples} samples it says little" if (
        counts.samples < _CALIBRATION_SAMPLES
    ) else ""  # fmt: skip
    return f"{dataset}: the ECE has no interval and no verdicts, as its noise only adds to it{more}"


def _few_confirmations(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    few = [row.label for row in rows if not row.judged]
    if not few:
        return None
    return (
        f"{dataset}: fewer than {LEAST_CONFIRMATIONS} confirmations, so that nothing is known of "
        f"how chance in training moves the scores; estimates, no verdicts: {join_names(few)}"
    )


def _validation_unlike_test(comparison: Comparison, dataset: str, rows: list[Row]) -> str | None:
    """Warn where validation promised more than the test split keeps."""
    found = []
    for row in rows:
        objective = str(row.cell.confirmations[0].params.get("objective"))
        item, first = row.metrics.get(objective), row.cell.first()
        if item is None or first is None or not first.best or math.isnan(item.high):
            continue
        values = [record.best["value"] for record in row.cell.confirmations if record.best]
        if max(values) > item.high + _TOO_GOOD:
            found.append(f"{row.label} ({number(max(values))}, test {number(item.mean)})")
    if 2 * len(found) <= len(rows):
        return None
    return (
        f"{dataset}: the best validation score is far above the test interval in "
        f"{join_names(found)}. Are patients on both sides of the validation split (say how the "
        "name tells: 'group:')? "
        "Is the test set from elsewhere?"
    )


def _confirmed_again(comparison: Comparison) -> list[str]:
    metric, found = comparison.choices.metric, []
    for row in comparison.rows:
        before = [record.test.get(metric, math.nan) for record in row.cell.earlier]
        if before and row.metrics:
            now = row.metrics[metric].mean
            found.append(
                f"{row.cell.name} (first {number(float(np.mean(before)))} in {len(before)}, now "
                f"{number(now)})"
            )
    if not found:
        return []
    return [
        "the test split was scored again after its first scores were known, as the budget was "
        f"raised: {join_names(found)}"
    ]


def _refitted(comparison: Comparison) -> list[str]:
    """Warn where some cells learnt from the validation samples, too, and others did not."""
    recipes = {sweep.name: sweep.space.recipe.for_frozen() for sweep in comparison.sweeps}
    rows = [row for row in comparison.rows if row.metrics]
    refitted = [
        f"{row.label} on {row.cell.dataset}"
        for row in rows
        if is_frozen(row.cell.freeze) and recipes[row.cell.sweep].refit
    ]
    if not refitted or len(refitted) == len(rows):
        return []
    return [
        "heads that were refitted (recipe.refit) learnt from the validation samples, too, others "
        f"from the training samples alone; a part of a difference may be that: {shorten(refitted)}"
    ]


def positive_classes(comparison: Comparison) -> list[str]:
    """Say of each data set of two classes which one AUPRC, ROC and precision-recall speak of."""
    return [
        f"{name}: {rows[0].cell.classes[1]}"
        for name, rows in comparison.datasets.items()
        if rows and rows[0].cell.has_positive
    ]
