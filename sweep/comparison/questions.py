"""The questions a sweep is launched for, answered in sentences with numbers.

Which pre-training is best, does freezing help, does a larger model of one family? Each is asked
of every dataset and of all of them together. Where a question is about two cells the verdict on
that pair is quoted; the contrasts of several cells, or over data sets, are one family for the
whole page. Where neither a difference nor equivalence within the margin can be shown, the
sentence says that the data cannot tell.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sweep.comparison.comparison import Comparison, Pair, Row
from sweep.comparison.stats.difference import Difference, average
from sweep.comparison.stats.verdict import Verdict, Word, verdicts
from sweep.comparison.text import describe, losses
from sweep.space.names import is_frozen
from sweep.space.registries import FREEZE_MODES

Terms = list[tuple[float, Row]]

_EVERYWHERE = "on average over these"
_BASELINES = ("frozen", "logreg")  # with which other freeze modes are compared


@dataclass(frozen=True)
class Contrast:
    """Cells of one dataset, or of all, against others of it.

    Attributes:
        where: the dataset, or on average over which ones.
        what: what the compared cells have in common.
        gain: by how much the first is better, in the metric.
        rows: the two cells, if there are no more.
        parts: the gain on each dataset, of a mean over several.
    """

    where: str
    what: str
    first: str
    second: str
    gain: Difference
    rows: tuple[Row, Row] | None = None
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class ContrastResult:
    """A contrast, the verdict on it, and the sentence that says so."""

    contrast: Contrast
    verdict: Verdict
    text: str

    @property
    def word(self) -> Word:
        """What the data say, in a word."""
        return self.verdict.word


@dataclass(frozen=True)
class Question:
    """A question, its answer in one sentence, and the findings that it rests on."""

    asked: str
    answer: str
    findings: list[ContrastResult]

    @property
    def overall(self) -> list[ContrastResult]:
        """The findings over all datasets."""
        return [item for item in self.findings if item.contrast.parts]


@dataclass(frozen=True)
class _Draft:
    text: str
    contrasts: list[Contrast]


def questions(comparison: Comparison) -> list[Question]:
    """Return the questions that the cells of a comparison can answer."""
    asked = [*_about_pretraining(comparison), *_about_freezing(comparison)]
    asked += _about_size(comparison)
    contrasts = [item for question in asked for item in question.contrasts]
    pairs = [comparison.pair(*item.rows) if item.rows else None for item in contrasts]
    own = [item for item, pair in zip(contrasts, pairs, strict=True) if pair is None]
    judged = iter(verdicts([item.gain for item in own], comparison.choices.margin))
    findings = iter(
        [
            _finding(comparison, item, pair.of(item.rows[0]), pair)
            if pair is not None and item.rows is not None
            else _finding(comparison, item, next(judged), None)
            for item, pair in zip(contrasts, pairs, strict=True)
        ]
    )
    result = []
    for question in asked:
        found = [next(findings) for _ in question.contrasts]
        answer = _answer(found, comparison.choices.margin)
        result.append(Question(question.text, answer, found))
    return result


def _about_pretraining(comparison: Comparison) -> list[_Draft]:
    kinds = list(dict.fromkeys(row.cell.pretraining for row in _rows(comparison)))
    # Other pre-training is compared against ImageNet, and all against random weights.
    kinds.sort(key=lambda kind: (kind == "random", kind == "ImageNet"))
    found = []
    for first, second in combinations(kinds, 2):

        def compare(rows: list[Row], first: str = first, second: str = second) -> Terms:
            return _means(
                [row for row in rows if row.cell.pretraining == first],
                [row for row in rows if row.cell.pretraining == second],
            )

        names = (_describe_pretraining(first), _describe_pretraining(second))
        contrasts = _contrasts(comparison, lambda row: row.cell.mode, compare, *names)
        if contrasts:
            asked = f"Is {names[0]} better than {names[1]}?"
            found.append(_Draft(asked, contrasts))
    return found


def _describe_pretraining(kind: str) -> str:
    return "random initialisation" if kind == "random" else f"{kind} pre-training"


def _about_freezing(comparison: Comparison) -> list[_Draft]:
    modes = list(dict.fromkeys(row.cell.freeze for row in _rows(comparison)))
    # The rows are in the order of their scores, on which the choice of a baseline must not depend.
    heads = sorted(mode for mode in modes if _trains_a_head_alone(mode))
    base = next((mode for mode in (*_BASELINES, *heads) if mode in modes), None)
    found = []
    for mode in modes if base else []:
        if mode == base:
            continue

        def compare(rows: list[Row], mode: str = mode) -> Terms:
            return _means(
                [row for row in rows if row.cell.freeze == mode],
                [row for row in rows if row.cell.freeze == base],
            )

        contrasts = _contrasts(comparison, lambda row: row.cell.backbone, compare, mode, str(base))
        if contrasts:
            found.append(_Draft(_ask_about_freezing(mode, str(base), mode in heads), contrasts))
    return found


def _ask_about_freezing(mode: str, base: str, head: bool) -> str:
    if head:
        probe = "a linear probe, 'frozen'" if base == "frozen" else f"that of {base!r}"
        return f"Is the head of {mode!r} better than {probe}?"
    frozen = "leaving the backbone frozen"
    if base != "frozen":
        frozen += f", with the head of {base!r}"
    return f"Is training {mode!r} better than {frozen}?"


def _trains_a_head_alone(mode: str) -> bool:
    """Tell whether a mode is one of another head; False of one that is not registered here."""
    return mode.partition(":")[0] in FREEZE_MODES and is_frozen(mode)


def _about_size(comparison: Comparison) -> list[_Draft]:
    families: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in _rows(comparison):
        cell = row.cell
        families[cell.family][cell.backbone] = float(cell.fact("parameters", 0))
    found = []
    for sizes in families.values():
        smallest, largest = min(sizes, key=lambda n: sizes[n]), max(sizes, key=lambda n: sizes[n])
        if sizes[smallest] == sizes[largest]:
            continue

        def compare(rows: list[Row], large: str = largest, small: str = smallest) -> Terms:
            return _means(
                [row for row in rows if row.cell.backbone == large],
                [row for row in rows if row.cell.backbone == small],
            )

        contrasts = _contrasts(comparison, lambda row: row.cell.mode, compare, largest, smallest)
        if contrasts:
            asked = f"Is the larger {largest} better than {smallest}, or is the small one as good?"
            found.append(_Draft(asked, contrasts))
    return found


def _rows(comparison: Comparison) -> list[Row]:
    """Return the rows that questions are asked of: those with the largest train fraction."""
    rows = [row for paired in comparison.paired.values() for row in paired]
    largest: dict[str, float] = defaultdict(float)
    for row in rows:
        largest[row.cell.dataset] = max(largest[row.cell.dataset], row.cell.train_fraction)
    return [row for row in rows if row.cell.train_fraction == largest[row.cell.dataset]]


def _means(first: list[Row], second: list[Row]) -> Terms:
    """Return the mean of the first rows minus that of the second; nothing if one is empty."""
    if not first or not second:
        return []
    return [(1 / len(first), row) for row in first] + [(-1 / len(second), row) for row in second]


def _contrasts(
    comparison: Comparison,
    subject: Callable[[Row], str],
    compare: Callable[[list[Row]], Terms],
    first: str,
    second: str,
) -> list[Contrast]:
    """Compare the rows of each dataset and subject; then each subject's mean over datasets."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in _rows(comparison):
        groups[subject(row), row.cell.dataset].append(row)
    found: dict[str, list[Contrast]] = defaultdict(list)
    for (what, dataset), rows in groups.items():
        if terms := compare(rows):
            gain = comparison.gain(terms)
            two = (terms[0][1], terms[1][1]) if len(terms) == 2 else None
            if not np.isnan(gain.point):
                found[what].append(Contrast(dataset, what, first, second, gain, two))
    contrasts = [item for items in found.values() for item in items]
    for what, items in found.items():
        if len(items) > 1:
            gain = average([item.gain for item in items])
            where, parts = f"{_EVERYWHERE} {len(items)}", tuple(item.gain.point for item in items)
            contrasts.append(Contrast(where, what, first, second, gain, None, parts))
    return contrasts


def _finding(
    comparison: Comparison, item: Contrast, verdict: Verdict, pair: Pair | None
) -> ContrastResult:
    choices = comparison.choices
    text = f"{item.where}, {item.what}: {describe(item.first, item.second, verdict, choices)}"
    if pair is not None and item.rows is not None:
        first, second = item.rows
        text += losses([(item.first, pair.lost_by(first)), (item.second, pair.lost_by(second))])
    if item.parts:
        parts = sorted(choices.sign * part for part in item.parts)
        text += f"; between {parts[0]:+.3f} and {parts[-1]:+.3f} on the single data sets"
    return ContrastResult(item, verdict, f"{text}.")


def _answer(findings: list[ContrastResult], margin: float) -> str:
    """Say in one sentence what the findings say together."""
    single = [item for item in findings if not item.contrast.parts]
    first, second = findings[0].contrast.first, findings[0].contrast.second
    counts = {
        word: sum(item.word == word for item in single)
        for word in ("better", "worse", "equivalent", "unclear", "unjudged")
    }
    parts = {
        "better": f"{first} better in {counts['better']}",
        "worse": f"{second} better in {counts['worse']}",
        "equivalent": f"equivalent within {margin:g} in {counts['equivalent']}",
        "unclear": f"the data cannot tell in {counts['unclear']}",
        "unjudged": f"no verdict in {counts['unjudged']}",
    }
    listed = ", ".join(text for word, text in parts.items() if counts[word])
    places = "comparison" if len(single) == 1 else "comparisons"
    return f"Of {len(single)} {places}: {listed}."
