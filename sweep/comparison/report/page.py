"""The report: one HTML file that needs no network, to look at, to print and to keep.

Everything that comes from data (names of datasets, backbones, classes) is escaped by the
template; scripts run only if they are the report's own (a content security policy).
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sweep import __version__
from sweep.comparison import text as wording
from sweep.comparison.budgets import at_equal_budget
from sweep.comparison.calibration import CalibrationEffect, calibration_effect
from sweep.comparison.caveats import caveats, positive_classes
from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.costs import cheapest_good, cost, pareto
from sweep.comparison.external import ExternalResult, external_results
from sweep.comparison.formats.tables import REPORTED, columns, sentences
from sweep.comparison.labels import LabelResult, label_results
from sweep.comparison.operating import OperatingResult, operating_results
from sweep.comparison.questions import questions
from sweep.comparison.ranks import ranks
from sweep.comparison.report import figures
from sweep.comparison.report.checklist import checklist
from sweep.comparison.report.methods import methods
from sweep.comparison.report.svg import with_shared_styles
from sweep.comparison.stats.verdict import ALPHA
from sweep.comparison.subgroups import LEAST_GROUPS, SubgroupResult, subgroup_results
from sweep.space.domains import Categorical, Domain, Range, in_words
from sweep.space.specs import MULTILABEL
from sweep.train.metrics import metric_of

_MOST_CLASSES = 20  # a confusion matrix of more classes is not legible
_MORE = ("auprc", "precision_macro", "recall_macro", "f1_macro", "mcc", "ece", "brier")


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for which, over all confirmations of a cell.

    Attributes:
        classes: those that are shown: of many the ones that most often go wrong.
        of: how many classes there are.
    """

    label: str
    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    of: int


@dataclass(frozen=True)
class DatasetPart:
    """What the report shows of one dataset: its rows and drawn figures by their titles."""

    name: str
    rows: list[Row]
    figures: dict[str, Markup]
    folded_away: dict[str, Markup]
    confusions: list[Confusion]
    fewest: int
    equal_budget: dict[Row, float]
    operating: list[OperatingResult]
    calibrated: list[CalibrationEffect]
    external: dict[str, list[ExternalResult]]
    subgroups: dict[str, list[SubgroupResult]]
    labels: dict[Row, list[LabelResult]]

    @property
    def positive(self) -> str | None:
        """The positive class of two."""
        cell = self.rows[0].cell
        return cell.classes[1] if cell.has_positive else None


def report(comparison: Comparison, progress: Callable[[str], None] = lambda name: None) -> str:
    """Return the report as one HTML document.

    Args:
        progress: told what is being drawn.
    """
    environment = Environment(
        loader=PackageLoader("sweep.comparison.report"), autoescape=True, undefined=StrictUndefined
    )
    script = _source(environment, "report.js")
    found = ranks(comparison)
    parts, by_subgroup = [], subgroup_results(comparison)
    for name, rows in comparison.datasets.items():
        if rows:
            progress(name)
            parts.append(_part(comparison, name, rows, by_subgroup.get(name, [])))
    main = columns(comparison)
    with_seeds = [row for part in parts for row in part.rows]
    page = environment.get_template("report.html.j2").render(
        comparison=comparison,
        choices=comparison.choices,
        title=wording.title(comparison.choices.metric),
        sentences=sentences(comparison),
        notes=caveats(comparison),
        parts=parts,
        main=main,
        more=[name for name in (*REPORTED, *_MORE) if name not in main],
        best=_best_of_each(parts),
        against={row: text for part in parts for row, text in _against(comparison, part).items()},
        cheapest=[good.row for part in parts if (good := cheapest_good(comparison, part.name))],
        fronts=[row for part in parts for row in pareto(comparison, part.name)],
        costs={row: cost(row.cell) for row in with_seeds},
        questions=questions(comparison),
        ranks=found,
        rank_figure=Markup(figures.critical_distance(found)) if found else None,
        methods=methods(comparison),
        checklist=checklist(comparison),
        significant=ALPHA,
        least_groups=LEAST_GROUPS,
        positive=positive_classes(comparison),
        wording=wording,
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(_source(environment, "report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    page, classes = with_shared_styles(page)
    return page.replace("</style>", f"{classes}\n</style>", 1)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _part(
    comparison: Comparison, name: str, rows: list[Row], subgroups: list[SubgroupResult]
) -> DatasetPart:
    choices = comparison.choices
    fewest, equal = at_equal_budget(rows)
    objective = comparison.sweeps[0].space.objective
    shown: dict[str, str | None] = {
        "Scores with their intervals": figures.forest(
            name, rows, choices, comparison.published_of(name)
        ),
        "Quality and cost": figures.cost_and_quality(name, rows, pareto(comparison, name), choices),
        "Learning curves": figures.learning_curves(name, rows, choices),
    }
    searched = [row for row in rows if row.cell.trials]
    away: dict[str, str | None] = {
        "ROC curves": figures.roc_curves(name, rows),
        "Decision curves": figures.decision_curves(name, rows),
        "Reliability": figures.reliability(name, rows),
    }
    if searched:
        away |= {
            **{
                _heading(parameter): figures.search_response(
                    name, searched, parameter, domain, objective
                )
                for parameter, domain in _domains(comparison, rows).items()
            },
            "Expected score at equal budget": figures.expected_scores(
                name, searched, fewest, objective
            ),
        }
    away |= {
        "Training curves: validation score": figures.training_curves(
            name, rows, f"val/{objective}"
        ),
        "Training curves: loss": figures.training_curves(name, rows, "loss", logarithmic=True),
    }
    return DatasetPart(
        name,
        rows,
        {heading: Markup(svg) for heading, svg in shown.items() if svg},
        {heading: Markup(svg) for heading, svg in away.items() if svg},
        [_confusion(row) for row in rows if row.cell.target != MULTILABEL],
        fewest,
        equal,
        [item for row in rows for item in operating_results(row)],
        [effect for row in rows if (effect := calibration_effect(row))],
        external_results(comparison, name),
        _by_column(subgroups),
        {row: found for row in rows if (found := label_results(row))},
    )


def _by_column(results: list[SubgroupResult]) -> dict[str, list[SubgroupResult]]:
    found: dict[str, list[SubgroupResult]] = {}
    for result in results:
        found.setdefault(result.column, []).append(result)
    return found


def _domains(comparison: Comparison, rows: list[Row]) -> dict[str, Domain]:
    """Return the domain of each hyper-parameter that all sweeps of these rows have searched.

    Of ranges it is the range that holds them all, of lists the list of all values.
    """
    names = {row.cell.sweep for row in rows}
    spaces = [sweep.space.domains() for sweep in comparison.sweeps if sweep.name in names]
    found: dict[str, Domain] = {}
    for name in spaces[0]:
        if name == "backbone_scale" or not all(name in domains for domains in spaces):
            continue
        own = [domains[name] for domains in spaces]
        ranges = [domain for domain in own if isinstance(domain, Range)]
        if len(ranges) == len(own):
            low, high = min(r.low for r in ranges), max(r.high for r in ranges)
            found[name] = Range(low=low, high=high, log=all(r.log for r in ranges))
        elif not ranges:
            values = [v for domain in own if isinstance(domain, Categorical) for v in domain.root]
            found[name] = Categorical(tuple(dict.fromkeys(values)))
    return found


def _heading(parameter: str) -> str:
    return f"Values tried: {in_words(parameter)}"


def _confusion(row: Row) -> Confusion:
    """Count what was taken for what; of many classes among those that most often go wrong."""
    classes = row.cell.classes
    seeds = row.cell.predictions()
    true_N = np.concatenate([item.labels_N for item in seeds])
    predicted_N = np.concatenate([item.probabilities_NC.argmax(axis=1) for item in seeds])
    wrong = true_N != predicted_N
    mistakes_C = np.bincount(true_N[wrong], minlength=len(classes)) + np.bincount(
        predicted_N[wrong], minlength=len(classes)
    )
    shown = np.sort(np.argsort(-mistakes_C, kind="stable")[:_MOST_CLASSES])
    place_C = np.full(len(classes), -1)
    place_C[shown] = np.arange(len(shown))
    inside = (place_C[true_N] >= 0) & (place_C[predicted_N] >= 0)
    counts_SS = np.zeros((len(shown), len(shown)), dtype=np.int64)
    np.add.at(counts_SS, (place_C[true_N[inside]], place_C[predicted_N[inside]]), 1)
    true_S = np.bincount(true_N, minlength=len(classes))[shown]
    shares_SS = counts_SS / np.maximum(true_S[:, None], 1)
    names = [classes[index] for index in shown]
    return Confusion(row.label, names, counts_SS.tolist(), shares_SS.tolist(), len(classes))


def _against(comparison: Comparison, part: DatasetPart) -> dict[Row, str]:
    """Say of each cell whether it is worse than the best of its dataset."""
    best, *others = part.rows
    words = {
        "better": "worse",
        "equivalent": "equivalent",
        "unclear": "cannot tell",
        "unjudged": "no verdict",
    }
    labels = {best: "the best"}
    for row in others:
        pair = comparison.pair(best, row)
        labels[row] = "not paired" if pair is None else words[pair.of(best).word]
    return labels


def _best_of_each(parts: list[DatasetPart]) -> dict[tuple[str, str], str]:
    """Return the best value of each dataset and metric, as it is written."""
    found = {}
    for part in parts:
        for metric in part.rows[0].metrics:
            choose: Any = min if metric_of(metric).lower_is_better else max
            best = choose(row.metrics[metric].mean for row in part.rows)
            found[part.name, metric] = wording.number(best)
    return found
