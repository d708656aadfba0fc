"""Several labels a sample: how they are written, and what stands for none of them.

A sample's labels are one text, ``Effusion|Nodule``; that of a sample without any is empty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sweep.data.manifest import SEPARATOR, Sample
from sweep.data.positive import is_negative, natural
from sweep.data.values import clean
from sweep.errors import DataError, nearest

# A label is predicted where its probability is above it, as scikit-learn's classifiers do.
DECISION_THRESHOLD = 0.5


def labels_in(text: str) -> list[str]:
    """Return the labels in a text, each once."""
    parts = (clean(part) for part in text.split(SEPARATOR))
    return list(dict.fromkeys(part for part in parts if part))


def join_labels(labels: Iterable[str]) -> str:
    """Return labels as one text, in the order of their names."""
    return SEPARATOR.join(sorted(labels, key=natural))


def predicted_labels(names: Sequence[str], probabilities: Sequence[float]) -> str:
    """Return the labels whose probability is above the threshold, as one text."""
    found = zip(names, probabilities, strict=True)
    return join_labels(name for name, p in found if p > DECISION_THRESHOLD)


def labels_of(sample: Sample, multilabel: bool) -> list[str]:
    """Return the labels of a sample: its class, where it has one."""
    return labels_in(sample.label) if multilabel else [sample.label]


def with_label_sets(
    name: str, samples: Sequence[Sample], given: bool | Sequence[str]
) -> list[Sample]:
    """Write the labels of samples alike; a word for none, such as 'No Finding', becomes no label.

    Args:
        name: of the dataset.
        given: the names that its entry gives, if it does; then each of them is a label.

    Raises DataError if such a word stands beside other labels, or a label is none of the names.
    """
    found = [labels_in(sample.label) for sample in samples]
    every = {label for labels in found for label in labels}
    if isinstance(given, Sequence) and (others := every - set(given)):
        odd_label = min(others, key=natural)
        raise DataError(
            f"dataset {name}: the label {odd_label!r} is none of those that multilabel names"
            f"{nearest(odd_label, given)}"
        )
    none = set() if isinstance(given, Sequence) else {x for x in every if is_negative(x)}
    odd = [s for s, labels in zip(samples, found, strict=True) if len(labels) > 1
           and none & set(labels)]  # fmt: skip
    if odd:
        raise DataError(
            f"dataset {name}: {len(odd)} samples have {sorted(none)[0]!r} beside other labels, "
            f"such as {odd[0].label!r} of {odd[0].path}: leave out one or the other"
        )
    return [
        replace(sample, label=join_labels(set(labels) - none))
        for sample, labels in zip(samples, found, strict=True)
    ]


def label_names(name: str, samples: Sequence[Sample], given: bool | Sequence[str]) -> list[str]:
    """Return the names of all labels, in the order of their places.

    Args:
        name: of the dataset.
        given: the names that its entry gives, if it does.

    Raises DataError if there are fewer than two.
    """
    found = {label for sample in samples for label in labels_in(sample.label)}
    names = list(given) if isinstance(given, Sequence) else sorted(found, key=natural)
    if len(names) < 2:
        raise DataError(
            f"dataset {name}: two labels at least are needed, found: {', '.join(names) or 'none'}; "
            "without 'multilabel' in its entry each sample has one of several classes"
        )
    return names
