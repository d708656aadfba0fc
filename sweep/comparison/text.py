"""How numbers and names are written, the same in every format."""

import math
from collections.abc import Sequence
from typing import Protocol

from sweep.comparison.stats.difference import Interval
from sweep.comparison.stats.verdict import ALPHA, Verdict
from sweep.train.metrics import metric_of

TRAINED_HERE = "for models trained on these patients"


class Reading(Protocol):
    """What a sentence needs to know of the reader's choices."""

    @property
    def metric(self) -> str:
        """The metric that ranks."""

    @property
    def margin(self) -> float:
        """The difference that would not matter."""

    @property
    def sign(self) -> int:
        """1 if more of the metric is better."""


def title(metric: str) -> str:
    """Return a metric's name as people write it."""
    return metric_of(metric).title


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(item: Interval | None, line_break: str = " ") -> str:
    """Return a mean and its interval."""
    if item is None or math.isnan(item.mean):
        return "-"
    if math.isnan(item.low):
        return f"{item.mean:.3f}"
    return f"{item.mean:.3f}{line_break}[{item.low:.3f}, {item.high:.3f}]"


def format_signed(item: Interval) -> str:
    """Return a difference and its interval, with its sign."""
    if not math.isfinite(item.low):
        return f"{number(item.mean)} [unknown]"
    mean, low, high = (f"{value + 0.0:+.3f}" for value in (item.mean, item.low, item.high))
    return f"{mean} [{low}, {high}]".replace("-0.000", "0.000").replace("+0.000", "0.000")


def p_value(p: float) -> str:
    """Return a p-value as journals want it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def both_p(verdict: Verdict) -> str:
    """Return a p-value and the one adjusted by Holm, under their names."""
    adjusted = p_value(verdict.adjusted).removeprefix("p ")
    return f"{p_value(verdict.p)}, adjusted p {adjusted}"


def describe(first: str, second: str, verdict: Verdict, choices: Reading) -> str:
    """Say a verdict in words, with the interval that agrees with it."""
    amount = f"{title(choices.metric)} {format_signed(raw(verdict.interval, choices.sign))}"
    margin, word = f"{choices.margin:g}", verdict.word
    if word == "unjudged":
        gain = choices.sign * verdict.gain.point
        return (
            f"{first} less {second} is {gain:+.3f} {title(choices.metric)}; there is no verdict on "
            "them (see the notes)"
        )
    if word in ("better", "worse"):
        but = f"; but by less than {margin}" if verdict.equivalent < ALPHA else ""
        return f"{first} is {word} than {second} {TRAINED_HERE}: {amount}, {both_p(verdict)}{but}"
    if word == "equivalent":
        adjusted = p_value(verdict.equivalent).removeprefix("p ")
        return (
            f"{first} and {second} are equivalent within {margin}: {amount}, TOST adjusted p "
            f"{adjusted}"
        )
    return f"the data cannot tell {first} from {second}: {amount}, {both_p(verdict)}"


def losses(lost: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Say in which other metrics each of some cells is worse, beyond chance; empty for none."""
    worse = [f"{name} is worse in {listed_titles(metrics)}" for name, metrics in lost if metrics]
    return f"; {' and '.join(worse)}" if worse else ""


def listed_titles(metrics: Sequence[str]) -> str:
    """Return the titles of metrics, in the middle of a sentence."""
    return ", ".join(_in_a_sentence(title(name)) for name in metrics)


def _in_a_sentence(title: str) -> str:
    """Return a title without its capital; names and abbreviations keep it."""
    first = title.partition(" ")[0]
    is_a_name = first == "Brier" or not first[1:].islower()
    return title if is_a_name else title[0].lower() + title[1:]


def raw(item: Interval, sign: int) -> Interval:
    """Return a difference that was signed so that more is better as one of the metric itself."""
    if sign > 0:
        return item
    return Interval(-item.mean, -item.high, -item.low)


def short_p(p: float) -> str:
    """Return a p-value for a table."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def join_names(names: list[str], shown: int = 3) -> str:
    """Return names in a sentence, the first few of many."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def seconds(value: float) -> str:
    """Return a time as people say it."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def flops(value: float | None) -> str:
    """Return a number of floating-point operations in tera or peta."""
    if value is None or math.isnan(value):
        return "-"
    for size, unit in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")):
        if value >= size:
            return f"{value / size:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{value / 1e6:.1f}\N{NO-BREAK SPACE}MFLOP"


def count(value: float | None) -> str:
    """Return a large number in thousands or millions."""
    if value is None or math.isnan(value):
        return "-"
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.1f}{suffix}"
    return f"{value:.0f}"
