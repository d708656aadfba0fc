"""What guidelines ask of a study, and where the report answers it.

The checklists are those points of CLAIM (Mongan et al. 2020) and TRIPOD+AI (Collins et al. 2024) on
which a comparison has something to say.
"""

from dataclasses import dataclass, replace

from sweep.comparison.comparison import Comparison


@dataclass(frozen=True)
class Point:
    """One point of a guideline: whether the report answers it, and where."""

    guideline: str
    item: str
    topic: str
    answered: str
    where: str


def checklist(comparison: Comparison) -> list[Point]:
    """Return the points of the guidelines, in their order, as far as these results answer them."""
    cells = [row.cell for row in comparison.rows if row.metrics]
    answered = dict[tuple[str, str], str]()
    if any(cell.external_sets for cell in cells):
        answered["CLAIM", "32"] = "External test set (of each data set that has one)"
    if any(cell.subgroups for cell in cells):
        answered["CLAIM", "34"] = answered["TRIPOD+AI", "14"] = "Subgroups"
    found = [Point(guideline, *point) for guideline, points in _POINTS.items() for point in points]
    return [
        replace(point, answered="in part" if point.item == "34" else "yes", where=where)
        if (where := answered.get((point.guideline, point.item)))
        else point
        for point in found
    ]


_POINTS = {
    "CLAIM": [
        ("7-8", "Data sources, eligibility", "no", "yours to write"),
        ("9", "Pre-processing", "yes", "Methods: Models"),
        ("10", "Selection of data subsets", "in part", "Methods: Data (leaks left out)"),
        ("14-18", "Ground truth and its makers", "no", "yours to write"),
        ("19", "Sample size", "in part", "Methods: Data; widths of the intervals"),
        ("20-21", "Partitions, and what is disjoint", "yes", "Methods: Data"),
        ("22", "Model", "yes", "Methods: Models; Cost"),
        ("23", "Software", "yes", "Methods: Software"),
        ("24", "Initialisation of parameters", "yes", "Methods: Models (weights and hashes)"),
        ("25", "Training", "yes", "Methods: Search; Training curves"),
        ("26", "Selection of the final model", "yes", "Methods: Search"),
        ("27", "Ensembling", "yes", "none: confirmations are scored one by one"),
        ("28", "Metrics", "yes", "Methods: Statistics"),
        ("29", "Significance and uncertainty", "yes", "Methods: Statistics; Differences"),
        ("30", "Robustness", "in part", "spread over confirmations, learning rates, equal budget"),
        ("31", "Explainability", "in part", "sweep errors --gallery: heat maps of mistakes"),
        ("32", "External test data", "no", "Methods: What this does not show"),
        ("33", "Flow of participants", "in part", "Methods: Data (numbers by split)"),
        ("34", "Demographics", "no", "yours to write"),
        ("35", "Performance on all partitions", "in part", "validation and test"),
        ("36", "Accuracy with intervals", "yes", "Results"),
        ("37", "Failure analysis", "yes", "ROC curves; Reliability; sweep errors"),
        ("41", "Code", "yes", "sweep and the space file"),
    ],
    "TRIPOD+AI": [
        ("5-6", "Source of data, participants", "no", "yours to write"),
        ("7", "Data preparation", "yes", "Methods: Data, Models"),
        ("8", "Outcome", "no", "yours to write"),
        ("10", "Sample size", "in part", "Methods: Data; widths of the intervals"),
        ("11", "Missing data", "in part", "pictures that cannot be read are named by data check"),
        ("12", "Analytical methods", "yes", "Methods: Data, Models, Search, Statistics"),
        ("14", "Fairness", "no", "subgroups are not looked at"),
        ("15", "Model output", "yes", "class probabilities; Reliability; Operating points"),
        ("16", "Training against evaluation", "yes", "Methods: Data"),
        ("18", "Code", "in part", "sweep and the space file; data are yours"),
        ("20", "Participants", "in part", "Methods: Data (numbers by split)"),
        ("22", "Model specification", "yes", "the confirmed models are kept, and in MLflow"),
        ("23", "Performance with intervals", "yes", "Results; Differences"),
    ],
}
