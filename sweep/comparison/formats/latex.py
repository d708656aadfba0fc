"""The comparison as the table of the original study, in LaTeX with booktabs."""

import math

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.stats.difference import Interval
from sweep.comparison.text import title

_STUDY = ("accuracy", "precision", "recall", "f1")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex(comparison: Comparison) -> str:
    """Return a tabular; of each dataset and metric the best is bold, intervals stand below."""
    metric = comparison.choices.metric
    shown = list(dict.fromkeys((metric, *_STUDY)))
    heads = (["Sweep"] if comparison.several else []) + ["Task", "Model", "Freeze"]
    lines = [
        r"% needs \usepackage{booktabs}",
        "% means over confirmations with 95 % intervals",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{@{{}}{'l' * len(heads)}{'c' * len(shown)}@{{}}}}",
        r"\toprule",
        " & ".join([*heads, *(title(name) for name in shown)]) + r" \\",
    ]
    for rows in _by_dataset(comparison.rows):
        lines.append(r"\midrule")
        best = {name: _best(rows, name) for name in shown}
        for row in rows:
            cell = row.cell
            own = [cell.sweep] if comparison.several else []
            task = cell.dataset if row is rows[0] else ""
            names = [escape(text) for text in (*own, task, cell.backbone, cell.mode)]
            values = [_value(row.metrics.get(name), best[name]) for name in shown]
            lines.append(" & ".join([*names, *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\endgroup"])


def escape(text: str) -> str:
    """Return text in which LaTeX sees no command."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _by_dataset(rows: list[Row]) -> list[list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.cell.dataset, []).append(row)
    return list(found.values())


def _best(rows: list[Row], metric: str) -> str | None:
    """Return the best value as it is written, so that all that read the same are bold."""
    from sweep.train.metrics import metric_of

    values = [row.metrics[metric].mean for row in rows if metric in row.metrics]
    choose = min if metric_of(metric).lower_is_better else max
    return f"{choose(values):.3f}" if values else None


def _value(item: Interval | None, best: str | None) -> str:
    if item is None:
        return "--"
    mean = f"{item.mean:.3f}"
    shown = rf"\textbf{{{mean}}}" if mean == best else mean
    if math.isnan(item.low):
        return shown
    below = rf"{{\tiny [{item.low:.3f}, {item.high:.3f}]}}"
    return rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{shown}\\[-2pt]{below}\end{{tabular}}"
