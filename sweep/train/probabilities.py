"""From logits to probabilities: of classes, or of labels that a sample may have several of."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sweep.space.specs import MULTILABEL


def as_array(logits: Tensor, target: str) -> NDArray[np.float64]:
    """Return the softmax of logits (..., C), or each label's sigmoid, in float64.

    Args:
        target: what the labels are; see `sweep.space.specs.Target`.
    """
    doubles = logits.double()
    found = doubles.sigmoid() if target == MULTILABEL else doubles.softmax(dim=-1)
    return np.asarray(found.cpu().numpy())
