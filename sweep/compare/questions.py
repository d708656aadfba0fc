"""The questions a sweep is launched for, answered in sentences with numbers.

Which pre-training is best, does freezing help, does a larger model of one family? Each is asked
of every dataset and of all of them together. A family of p-values is one question's: they are
adjusted by Holm (1979), those of equivalence (TOST) likewise. Where neither a difference nor
equivalence within the margin can be shown, the sentence says that the data cannot tell.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from sweep.compare.comparison import SIGNIFICANT, Comparison, Row, holm
from sweep.compare.estimates import Bootstrapped, averaged, equivalence, two_sided
from sweep.compare.wording import p_value, signed, title

Verdict = Literal["better", "worse", "equivalent", "unclear"]
Terms = list[tuple[float, Row]]

_EVERYWHERE = "all datasets"


@dataclass(frozen=True)
class Contrast:
    """Cells of one dataset, or of all, against others of it.

    Attributes:
        where: the dataset, or all of them.
        what: what the compared cells have in common.
        gain: by how much the first is better, in the metric.
        seed_error: the standard error that the seeds alone give the gain; NaN if unknown.
    """

    where: str
    what: str
    first: str
    second: str
    gain: Bootstrapped
    seed_error: float


@dataclass(frozen=True)
class Finding(Contrast):
    """A contrast and what the data say of it.

    Attributes:
        p, adjusted: of no difference, alone and by Holm among the question's findings.
        equivalent: of a difference larger than the margin (TOST), by Holm likewise.
    """

    p: float
    adjusted: float
    equivalent: float
    text: str

    @property
    def verdict(self) -> Verdict:
        """What the data say."""
        return _verdict(self.gain.point, self.adjusted, self.equivalent)


@dataclass(frozen=True)
class Question:
    """A question, its answer in one sentence, and the findings that it rests on."""

    asked: str
    answer: str
    findings: list[Finding]

    @property
    def overall(self) -> list[Finding]:
        """The findings over all datasets."""
        return [item for item in self.findings if item.where == _EVERYWHERE]


def questions(comparison: Comparison) -> list[Question]:
    """Return the questions that the cells of a comparison can answer."""
    asked = [*_about_pretraining(comparison), *_about_freezing(comparison)]
    return [*asked, *_about_size(comparison)]


def _about_pretraining(comparison: Comparison) -> list[Question]:
    kinds = list(dict.fromkeys(row.cell.pretraining for row in _rows(comparison)))
    # The newer against the older: what is asked for comes first, ImageNet and random last.
    kinds.sort(key=lambda kind: (kind == "random", kind == "ImageNet"))
    found = []
    for first, second in combinations(kinds, 2):

        def compare(rows: list[Row], first: str = first, second: str = second) -> Terms:
            return _means(
                [row for row in rows if row.cell.pretraining == first],
                [row for row in rows if row.cell.pretraining == second],
            )

        names = (_learnt(first), _learnt(second))
        contrasts = _contrasts(comparison, lambda row: row.cell.mode, compare, *names)
        if contrasts:
            asked = f"Is {names[0]} better than {names[1]}?"
            found.append(_question(comparison, asked, contrasts))
    return found


def _learnt(kind: str) -> str:
    return "random initialisation" if kind == "random" else f"{kind} pre-training"


def _about_freezing(comparison: Comparison) -> list[Question]:
    modes = list(dict.fromkeys(row.cell.freeze for row in _rows(comparison)))
    found = []
    for mode in modes if "frozen" in modes else []:
        if mode == "frozen":
            continue

        def compare(rows: list[Row], mode: str = mode) -> Terms:
            return _means(
                [row for row in rows if row.cell.freeze == mode],
                [row for row in rows if row.cell.freeze == "frozen"],
            )

        contrasts = _contrasts(comparison, lambda row: row.cell.backbone, compare, mode, "frozen")
        if contrasts:
            asked = f"Is training '{mode}' better than leaving the backbone frozen?"
            found.append(_question(comparison, asked, contrasts))
    return found


def _about_size(comparison: Comparison) -> list[Question]:
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
            found.append(_question(comparison, asked, contrasts))
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
            gain, error = comparison.gain(terms), _seed_error(terms, comparison.choices.metric)
            if not np.isnan(gain.point):
                found[what].append(Contrast(dataset, what, first, second, gain, error))
    contrasts = [item for items in found.values() for item in items]
    for what, items in found.items():
        if len(items) > 1:
            error = float(np.sqrt(np.sum([i.seed_error**2 for i in items]))) / len(items)
            gain = averaged([item.gain for item in items])
            contrasts.append(Contrast(_EVERYWHERE, what, first, second, gain, error))
    return contrasts


def _seed_error(terms: Terms, metric: str) -> float:
    """Return the standard error that the seeds alone give a weighted sum; NaN if unknown."""
    variances = [
        weight**2 * row.spread[metric] ** 2 / max(1, len(row.cell.confirmations))
        for weight, row in terms
    ]
    return float(np.sqrt(np.sum(variances)))


def _question(comparison: Comparison, asked: str, contrasts: list[Contrast]) -> Question:
    choices = comparison.choices
    values = [two_sided(item.gain) for item in contrasts]
    margins = holm([equivalence(item.gain, choices.margin) for item in contrasts])
    findings = []
    for item, p, adjusted, equivalent in zip(contrasts, values, holm(values), margins, strict=True):
        text = _sentence(item, adjusted, equivalent, choices.metric, choices.margin)
        findings.append(
            Finding(**vars(item), p=p, adjusted=adjusted, equivalent=equivalent, text=text)
        )
    return Question(asked, _answer(findings, choices.margin), findings)


def _verdict(point: float, adjusted: float, equivalent: float) -> Verdict:
    if adjusted < SIGNIFICANT:
        return "better" if point > 0 else "worse"
    return "equivalent" if equivalent < SIGNIFICANT else "unclear"


def _sentence(
    item: Contrast, adjusted: float, equivalent: float, metric: str, margin: float
) -> str:
    verdict = _verdict(item.gain.point, adjusted, equivalent)
    amount = f"{title(metric)} {signed(item.gain.interval())}"
    start = f"{item.where}, {item.what}:"
    if verdict in ("better", "worse"):
        words = f"{item.first} is {verdict} than {item.second}: {amount}, {p_value(adjusted)}"
        if equivalent < SIGNIFICANT:
            words += f"; but by less than {margin:g}"
    elif verdict == "equivalent":
        words = (
            f"{item.first} and {item.second} are equivalent within {margin:g}: {amount}, "
            f"TOST {p_value(equivalent)}"
        )
    else:
        words = (
            f"the data cannot tell {item.first} from {item.second}: {amount}, {p_value(adjusted)}"
        )
    if verdict in ("better", "worse") and abs(item.gain.point) < 2 * item.seed_error:
        words += f" (the seeds alone vary it by {item.seed_error:.3f}: try more of them)"
    return f"{start} {words}."


def _answer(findings: list[Finding], margin: float) -> str:
    """Say in one sentence what the findings say together."""
    single = [item for item in findings if item.where != _EVERYWHERE]
    first, second = findings[0].first, findings[0].second
    counts = {
        verdict: sum(item.verdict == verdict for item in single)
        for verdict in ("better", "worse", "equivalent", "unclear")
    }
    parts = {
        "better": f"{first} better in {counts['better']}",
        "worse": f"{second} better in {counts['worse']}",
        "equivalent": f"equivalent within {margin:g} in {counts['equivalent']}",
        "unclear": f"the data cannot tell in {counts['unclear']}",
    }
    said = ", ".join(text for verdict, text in parts.items() if counts[verdict])
    places = "comparison" if len(single) == 1 else "comparisons"
    return f"Of {len(single)} {places}: {said}."
