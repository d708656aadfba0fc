"""How numbers and names are written, the same in every format."""

import math

from sweep.compare.estimates import Interval

_TITLES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "mcc": "MCC",
    "ece": "ECE",
    "brier": "Brier score",
    "precision_macro": "Macro precision",
    "recall_macro": "Macro recall",
    "f1_macro": "Macro F1",
}


def title(metric: str) -> str:
    """Return a metric's name as people write it."""
    return _TITLES.get(metric, metric.replace("_", " ").capitalize())


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(item: Interval | None, line_break: str = " ") -> str:
    """Return a mean and its interval."""
    if item is None or math.isnan(item.mean):
        return "-"
    return f"{item.mean:.3f}{line_break}[{item.low:.3f}, {item.high:.3f}]"


def signed(item: Interval) -> str:
    """Return a difference and its interval, with its sign."""
    if math.isinf(item.low) or math.isnan(item.mean):
        return f"{number(item.mean)} [unknown]"
    mean, low, high = (f"{value + 0.0:+.3f}" for value in (item.mean, item.low, item.high))
    return f"{mean} [{low}, {high}]".replace("-0.000", "0.000").replace("+0.000", "0.000")


def p_value(p: float) -> str:
    """Return a p-value as journals want it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def short_p(p: float) -> str:
    """Return a p-value for a table."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def listed(names: list[str], shown: int = 3) -> str:
    """Return names in a sentence, the first few of many."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def seconds(value: float) -> str:
    """Return a time as people say it."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def count(value: float | None) -> str:
    """Return a large number in thousands or millions."""
    if value is None or math.isnan(value):
        return "-"
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.1f}{suffix}"
    return f"{value:.0f}"
