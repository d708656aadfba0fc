"""What passes between the driver and its workers: waves out, reports back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.backbones.hub import search_folder
from sweep.base.identity import canonical_hash
from sweep.base.settings import own_cache
from sweep.records.folder import SweepFolder
from sweep.space.imports import ImportedModule, import_modules
from sweep.space.model import Cell, Space
from sweep.train.flops import ImageFlops
from sweep.train.learner import EpochScore, Trial


@dataclass(frozen=True)
class SweepContext:
    """What every worker of a sweep needs to know.

    Attributes:
        folder, data_root, weights_dir: at these paths on every node.
        cache: the driver's; see `node_cache`.
        owner: since when the driver has run, which nodes read to know its folder.
        retries: how often a wave that failed is tried again.
        ledger: URL of the Optuna storage.
        inputs: hashes of what the sweep learns from; see `sweep.data.inputs.Inputs.identities`.
        flops: work of each cell by its name, for the order in which they run; may be empty.
        image_flops: of each cell by its name, as the driver has counted them; a worker counts
            what is not there.
        deadline: Unix time at which the sweep is to be over, if it has not all time.
        modules: that the space imports. Where a context arrives, in whatever process, they are
            imported, too, and the weights folder is searched for repositories.
    """

    space: Space
    sweep_id: str
    folder: SweepFolder
    data_root: Path
    weights_dir: Path | None
    cache: Path
    ids_key: bytes = field(repr=False)
    owner: str = ""
    retries: int = 2
    ledger: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    flops: Mapping[str, float] = field(default_factory=dict)
    image_flops: Mapping[str, ImageFlops] = field(default_factory=dict)
    deadline: float | None = None
    modules: tuple[ImportedModule, ...] = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        import_modules(self.modules)
        search_folder(self.weights_dir)

    def node_cache(self) -> Path:
        """Return where this node keeps stores and features."""
        return node_cache(self.cache)


def node_cache(drivers: Path) -> Path:
    """Return the cache of this node: ``$SWEEP_CACHE`` if it has its own, else the driver's.

    On storage that nodes share everything is computed once, on a node's own disk once a node.
    """
    own = own_cache()
    return own.absolute() if own else drivers


@dataclass(frozen=True)
class Wave:
    """The trials of one cell that run together, or one confirmation.

    A confirmation trains all of its `trials`, and its own validation split chooses among them.

    Attributes:
        key: identity, the same when the wave runs again; names its checkpoint.
        kind: trial or confirmation.
        seed: of the initial head and of the order of the samples.
        fold: which part of the dataset is the test split, where it is cut into folds.
        partition: which cut of the other samples into train and val.
        index: of a confirmation, among those of its cell; of a trial that belongs to one, that.
        chosen_by: how a confirmation came to its trials; see `search/confirmation.py`.
        round: of a confirmation; above 0 where it was done again, as a larger budget gave other
            trials to choose from.
    """

    key: str
    kind: str
    cell: Cell
    trials: tuple[Trial, ...]
    seed: int
    fold: int = 0
    partition: int = 0
    index: int = 0
    round: int = 0
    chosen_by: str = ""

    @property
    def choice(self) -> str:
        """The identity of what a confirmation chooses from."""
        return choice_identity(self.trials)

    @property
    def runs(self) -> int:
        """How many results it gives: one for each trial, one for a confirmation."""
        return len(self.trials) if self.kind == "trial" else 1


def choice_identity(trials: tuple[Trial, ...]) -> str:
    """Return the identity of what a confirmation chooses from."""
    return canonical_hash(sorted({trial.identity for trial in trials}))


@dataclass
class Report:
    """What a worker tells after some epochs.

    Attributes:
        scores: of every epoch since the last report; of all, after a checkpoint.
        done: no member of the wave learns any more.
        seconds: spent in training so far.
        chosen: of a confirmation, the number of the trial that validation chose.
        test, predictions, model: of a confirmation, when it is done.
        external: of a confirmation, by the names of external test sets: the file of predictions,
            and test metrics.
        validation: of a trial that is done, the file of its validation predictions.
        paused: the sweep is being stopped; the wave goes on from its checkpoint next time.
        images: that went through a network so far.
        error: why the wave failed, if it did; `retry` tells whether to try again.
        blocked: the reason is none of the sweep's own, such as data that changed or a full disk: it
            is no result that the wave failed.
        log: name of the file under ``logs/`` that tells all of it.
        checksums: SHA-256 of the files that it has left, by their paths in the sweep's folder.
        notes: what is to stand in the log.
    """

    scores: list[EpochScore] = field(default_factory=list)
    epoch: int = 0
    done: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    chosen: int | None = None
    test: dict[str, float] = field(default_factory=dict)
    predictions: str | None = None
    model: str | None = None
    external: dict[str, Any] = field(default_factory=dict)
    validation: str | None = None
    error: str | None = None
    retry: bool = True
    blocked: bool = False
    log: str | None = None
    paused: bool = False
    images: int = 0
    checksums: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def kept_model(folder: SweepFolder, cell: Cell, index: int, trial: Trial) -> Path:
    """Return where a trial that belongs to a confirmation leaves its model for it."""
    return folder.file("kept", f"{cell.name}:{index}:{trial.identity}", ".pt")


def rungs(epochs: int) -> list[int]:
    """Return the epochs after which a fused wave reports: 1, 3, 9, ... and the last."""
    steps = [3**power for power in range(12) if 3**power < epochs]
    return [*steps, epochs]
