"""Rows of equal shape in Arrow files, memory-mapped: images and features alike."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray


class MappedRows:
    """Rows of numbers, all of one shape, that lie in several arrays one after the other."""

    def __init__(self, chunks: Sequence[NDArray[np.generic]]) -> None:
        self._chunks = chunks
        self._starts = np.cumsum([0, *map(len, chunks)])
        self.row_shape = chunks[0].shape[1:]

    @classmethod
    def open(
        cls, paths: Sequence[Path], column: str, dtype: DTypeLike, row_shape: tuple[int, ...] = ()
    ) -> "MappedRows":
        """Map one fixed-size binary column of Arrow files.

        Args:
            paths: the files, in the order of their rows.
            column: its name.
            dtype: of the numbers.
            row_shape: of a row; by default the width of the column says its length.

        Raises:
            OSError, pa.ArrowException, KeyError, ValueError: a file is absent or damaged.
        """
        chunks: list[NDArray[np.generic]] = []
        for path in paths:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            width = table.schema.field(column).type.byte_width // np.dtype(dtype).itemsize
            chunks += [
                np.frombuffer(chunk.buffers()[1], dtype).reshape(-1, *(row_shape or (width,)))
                for chunk in table[column].chunks
            ]
        return cls(chunks)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.generic]:
        """Return the rows at `indices` as a new array (len(indices), *row_shape)."""
        wanted = np.asarray(indices, dtype=np.int64)
        result = np.empty((len(wanted), *self.row_shape), dtype=self._chunks[0].dtype)
        chunk_of = np.searchsorted(self._starts, wanted, side="right") - 1
        row_of = wanted - self._starts[chunk_of]
        # Copying row by row makes one copy; indexing a chunk by an array would make two.
        for slot, (chunk, row) in enumerate(zip(chunk_of.tolist(), row_of.tolist(), strict=True)):
            result[slot] = self._chunks[chunk][row]
        return result


def write_rows(path: Path, column: str, width: int, batches: Iterable[NDArray[np.generic]]) -> None:
    """Write arrays of rows, each row `width` bytes, as one file, a record batch for each array."""
    kind = pa.binary(width)
    schema = pa.schema([(column, kind)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for rows in batches:
            buffer = pa.py_buffer(np.ascontiguousarray(rows))
            array = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, buffer])
            writer.write_batch(pa.record_batch([array], schema=schema))
