"""From measured values to 8 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A file that claims more voxels has a damaged header or is a decompression bomb.
MAX_VOXELS = 1 << 30


def to_8_bit(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map `low` to 0 and `high` to 255, linearly; what lies outside is clipped.

    Raises ValueError if a value is not a number.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(numbers)):,} values are not numbers")
    if high <= low:
        return np.zeros(numbers.shape, dtype=np.uint8)
    scaled = (numbers - low) * (255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
