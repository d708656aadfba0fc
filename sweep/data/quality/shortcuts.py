"""Constants that give a class away though they are no sign of it: sizes, formats, marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sweep.data.store.image_store import Store

_SAMPLES = 3000  # images inspected for marks
_BORDER = 1 / 8  # width of the border, relative to the side
_SMALLEST = 32  # side in pixels; smaller images have no meaningful border
_FEWEST = 5  # images of a class

# No image dataset in benchmarks/README.md reaches an AUROC of 0.90 by its border.
_MARK, _CERTAIN_MARK = 0.92, 0.96
_SIZE, _CERTAIN_SIZE = 0.5, 0.85  # balanced accuracy, rescaled so that chance is 0 and perfection 1


@dataclass(frozen=True)
class Shortcut:
    """What gives a class away.

    Attributes:
        score: how well it tells the class by itself.
        certain: whether that is too good to be chance or medicine.
        label, place: of a mark, the class that has it and where it is.
    """

    score: float
    certain: bool
    label: int = 0
    place: str = ""


def find_size_shortcut(
    originals: NDArray[np.int32], suffixes: Sequence[str], labels: NDArray[np.int64]
) -> Shortcut | None:
    """Tell whether width, height and format of the files tell the class.

    Each picture is given to the class that is most frequent among the others of its size and
    format, in proportion to the classes; returned is the balanced accuracy of that.
    """
    kinds = [f"{w}x{h}{s}" for (w, h), s in zip(originals.tolist(), suffixes, strict=True)]
    kind_of = np.unique(kinds, return_inverse=True)[1]
    classes = int(labels.max()) + 1
    own = np.eye(classes)[labels]
    counts = np.zeros((int(kind_of.max()) + 1, classes))
    np.add.at(counts, (kind_of, labels), 1)
    others = counts[kind_of] - own
    shares = others / np.maximum(counts.sum(axis=0) - own, 1)
    guessed = np.where(shares.max(axis=1) > 0, shares.argmax(axis=1), -1)
    recalls = [(guessed[labels == c] == c).mean() for c in np.unique(labels)]
    score, chance = float(np.mean(recalls)), 1 / len(recalls)
    knowing = (score - chance) / (1 - chance) if len(recalls) > 1 else 0.0
    return Shortcut(score, knowing >= _CERTAIN_SIZE) if knowing >= _SIZE else None


def find_border_shortcut(
    store: Store, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> Shortcut | None:
    """Tell whether some place near the border is constant in one class and varies in others.

    For each place and class, pictures are ranked by how near they are there to the class's
    median brightness; the score is the AUROC of that rank for the class.
    """
    large = store.originals[rows].min(axis=1) >= _SMALLEST
    rows, labels = rows[large], labels[large]
    if len(rows) > _SAMPLES:
        chosen = np.random.default_rng(0).permutation(len(rows))[:_SAMPLES]
        rows, labels = rows[chosen], labels[chosen]
    if len(rows) < 2 * _FEWEST:
        return None
    width = round(store.size * _BORDER)
    border = np.ones((store.size, store.size), dtype=bool)
    border[width:-width, width:-width] = False
    grey_NP = store.rows(rows).mean(axis=3, dtype=np.float32)[:, border]
    best = (0.0, 0.0, 0, 0)  # score, negative spread, class and place
    for label in np.unique(labels).tolist():
        positive = labels == label
        if min(positive.sum(), (~positive).sum()) < _FEWEST or _chance(positive) > 1:
            continue
        gap_NP = np.abs(grey_NP - np.median(grey_NP[positive], axis=0))
        score_P = _auroc(positive, -gap_NP)
        place = int(score_P.argmax())
        # Of two classes with equal scores, the one of smaller spread holds the mark.
        spread = float(gap_NP[positive, place].mean())
        best = max(best, (float(score_P[place]), -spread, label, place))
    score, _, label, place = best
    if score < max(_MARK, _chance(labels == label)):
        return None
    y, x = np.argwhere(border)[place] / store.size
    where = f"{x:.0%} from the left and {y:.0%} from the top"
    return Shortcut(score, score >= _CERTAIN_MARK, label, where)


def _chance(positive_N: NDArray[np.bool_]) -> float:
    """Return the AUROC that none of thousands of places reaches by chance.

    Six standard deviations (Mann and Whitney 1947), as the place and the median are chosen.
    """
    count, others = int(positive_N.sum()), int((~positive_N).sum())
    return float(0.5 + 6 * np.sqrt((count + others + 1) / (12 * count * others)))


def _auroc(positive_N: NDArray[np.bool_], scores_NP: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the AUROC of each column of scores (Mann-Whitney)."""
    ranks_NP = rankdata(scores_NP, axis=0)
    count = int(positive_N.sum())
    above_P = ranks_NP[positive_N].sum(axis=0) - count * (count + 1) / 2
    return np.asarray(above_P / (count * (len(positive_N) - count)))
