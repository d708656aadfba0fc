"""Which of two classes is the positive one: what AUPRC, ROC and precision-recall speak of."""

import re
from collections import Counter
from collections.abc import Sequence

from sweep.errors import DataError, nearest

# Names of the class without the finding in published image datasets.
_NEGATIVE = re.compile(
    r"(normal|benign|healthy|health|control|controls|negative|neg|none|absent|absence|"
    r"0|-1|false|no|(no|non|not|without)[ _-].+)",
    re.IGNORECASE,
)


def ordered_classes(
    name: str,
    labels: Sequence[str],
    positive: str | None = None,
    ordered: bool | Sequence[str] = False,
) -> list[str]:
    """Return the class names in the order of their indices; of two the second is positive.

    It is the one that the dataset's entry names; else the one beside a name such as normal,
    benign, healthy, control, negative, no_*, 0 or -1; else the rarer one. More than two classes
    are sorted, '2' before '10'.

    Args:
        name: of the dataset.
        labels: of every sample.
        ordered: classes that have an order, in that order; True for numbers.

    Raises DataError if `positive` is no class, or there are not two; or if `ordered` does not
    name the classes, or says True of classes that are no numbers.
    """
    if ordered:
        return _in_order(name, set(labels), ordered)
    counts = Counter(labels)
    classes = sorted(counts, key=natural)
    if positive is not None and (len(classes) != 2 or positive not in classes):
        hint = "" if positive in classes else nearest(positive, classes)
        raise DataError(
            f"dataset {name}: positive: {positive!r} must be one of two classes; its classes are "
            f"{', '.join(classes)}{hint}"
        )
    if len(classes) != 2:
        return classes
    chosen = positive or _find_by_name(classes) or min(reversed(classes), key=counts.__getitem__)
    return sorted(classes, key=lambda label: label == chosen)


def _in_order(name: str, classes: set[str], ordered: bool | Sequence[str]) -> list[str]:
    found = sorted(classes, key=natural)
    if isinstance(ordered, Sequence):
        if set(ordered) != classes or len(ordered) != len(classes):
            raise DataError(
                f"dataset {name}: ordered: {', '.join(ordered)} must be its classes, each once: "
                f"{', '.join(found)}"
            )
        return list(ordered)
    if words := [label for label in found if not label.isdecimal()]:
        raise DataError(
            f"dataset {name}: 'ordered: true' is for classes that are numbers, and {words[0]!r} is "
            f"none: write the order, ordered: [{', '.join(found)}], from the lowest"
        )
    return found


def _find_by_name(classes: list[str]) -> str | None:
    negative = [label for label in classes if _NEGATIVE.fullmatch(label.strip())]
    if len(negative) != 1:
        return None
    return next(label for label in classes if label != negative[0])


def is_negative(label: str) -> bool:
    """Tell a name of the class without the finding, by a word and not by a number."""
    return _NEGATIVE.fullmatch(label.strip()) is not None and not label.strip("-").isdecimal()


def natural(name: str) -> tuple[int, int, str]:
    """Sort '2' before '10', numbers before words."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
