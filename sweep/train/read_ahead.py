"""Images from a store, read one batch ahead of the work on them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sweep.data.store.image_store import Store


def read_ahead(store: Store, batches: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images (B, S, S, 3) of each batch of rows, while a thread reads the next one."""
    if not batches:
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(store.rows, batches[0])
        for following in [*batches[1:], None]:
            images = ahead.result()
            if following is not None:
                ahead = reader.submit(store.rows, following)
            yield images
