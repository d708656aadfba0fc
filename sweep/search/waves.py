"""Making waves: what a wave is called, and which data and seed it gets."""

import re
from dataclasses import replace

from sweep.search.confirmation import way_of
from sweep.space.model import Cell, Space
from sweep.train.learner import Trial
from sweep.train.wave import Wave

# Part of the key of a wave that belongs to one repeat.
_REPEAT = re.compile(r":repeat:(\d+):wave:\d+$")


class WaveMaker:
    """Makes the waves of a sweep. Everything that makes a result is in the wave."""

    def __init__(self, sweep_id: str, space: Space) -> None:
        self._sweep_id, self._space = sweep_id, space

    def search_key(self, cell: Cell, asked: int) -> str:
        """Return the key of a cell's next wave of trials; it holds which repeat it is for.

        Args:
            asked: how many trials of the cell were asked before it.
        """
        repeat = f"repeat:{asked % cell.confirmations}:" if cell.repeated else ""
        return f"{self._sweep_id}:{cell.name}:{repeat}wave:{asked}"

    def search(self, cell: Cell, key: str, trials: tuple[Trial, ...]) -> Wave:
        """Return a wave of trials."""
        repeat = _REPEAT.search(key)
        if repeat is None:
            return Wave(key, "trial", cell, trials, self._seed(cell, "search"))
        return self._repeat(Wave(key, "trial", cell, trials, 0), int(repeat[1]))

    def confirmation(
        self, cell: Cell, trials: tuple[Trial, ...], index: int, round_: int = 0
    ) -> Wave:
        """Return a confirmation that chooses among trials.

        Args:
            round_: above 0 where it is done again.
        """
        kind = f"confirmation.{round_}" if round_ else "confirmation"
        key = f"{self._sweep_id}:{cell.name}:{kind}:{index}"
        wave = Wave(key, "confirmation", cell, trials, 0, round=round_, chosen_by=way_of(cell))
        return self._repeat(wave, index)

    def _repeat(self, wave: Wave, index: int) -> Wave:
        """Return a wave with the data and the seed of a confirmation, or of a trial for it."""
        fold = index if self._space.split.folds else 0
        seed = self._seed(wave.cell, index)
        return replace(wave, seed=seed, fold=fold, partition=1 + index, index=index)

    def _seed(self, cell: Cell, what: str | int) -> int:
        """Return the seed of initial weights, order and augmentation."""
        return cell.seed(self._space.split.seed, what)
