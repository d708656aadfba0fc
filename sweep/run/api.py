"""The Python API: what the command line does, with values in the place of text.

from sweep import Places, Space, launch
outcome = launch(Space.model_validate({...}), Places(data_root=Path("data"), local=True))
outcome.results.trials()
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base.addresses import kept_address
from sweep.base.settings import default_data_root, default_home, default_weights_dir
from sweep.comparison.api import check_choices, require_scores
from sweep.comparison.comparison import compare as compare_results
from sweep.comparison.published import read_published
from sweep.comparison.sources import find_results
from sweep.errors import SweepError
from sweep.records.home import existing
from sweep.records.results import home_results
from sweep.run.listener import Listener
from sweep.run.results import ComparisonResult, Results
from sweep.space.model import Space

if TYPE_CHECKING:  # Ray and MLflow take seconds to import, and a comparison needs neither
    from sweep.run.launch import Outcome


@dataclass(frozen=True)
class Places:
    """Where a sweep runs, and where it finds and keeps what it needs.

    What is None is as on the command line; when a sweep is resumed, as it was launched.

    Attributes:
        home: of all sweeps; ``$SWEEP_HOME``, else ``sweeps``.
        data_root: where relative paths of data sets start; ``$SWEEP_DATA``, else this folder.
        weights_dir: of weight files; ``$SWEEP_WEIGHTS``.
        tracking_uri: MLflow; ``$MLFLOW_TRACKING_URI``, else ``mlflow.db`` in this folder.
        address: of a Ray cluster, ``auto``, ``HOST:6379`` or ``ray://HOST:10001``; None: Ray is
            started on this machine.
        ledger: Optuna storage of the search; a file in the home.
        local: one wave after the other in this process, without Ray.
    """

    home: Path | None = None
    data_root: Path | None = None
    weights_dir: Path | None = None
    tracking_uri: str | None = None
    address: str | None = None
    ledger: str | None = None
    local: bool = False

    def __post_init__(self) -> None:
        if self.local and self.address:
            raise SweepError(f"local runs in this process: leave the address {self.address} out")
        if str(self.address).startswith(("http://", "https://")):
            raise SweepError(
                f"{self.address} takes jobs, not calls: use sweep launch --address, or ray://"
            )


_NOBODY = Listener()


def launch(
    space: Space,
    places: Places = Places(),
    listener: Listener = _NOBODY,
    retries: int = 2,
    command: str = "sweep.launch",
    register: bool = False,
) -> "Outcome":
    """Run a new sweep to its end, and compare its cells. Nothing is printed.

    Args:
        listener: is told what happens.
        retries: how often a wave that failed is tried again.
        command: what MLflow shows as the source of the runs; no paths should be in it.
        register: put the best model of each data set into MLflow's registry.

    Raises:
        SweepError: something it needs is missing or wrong; nothing was begun.
        Interrupted: stopped; what was done is kept.
    """
    from sweep.run import launch as launching

    settings = launching.new_settings(
        places.data_root or default_data_root(),
        places.weights_dir or default_weights_dir(),
        places.tracking_uri,
        places.address,
        retries,
        places.ledger,
        places.local,
        command,
        register,
    )
    return launching.launch(space, places.home or default_home(), settings, listener)


def resume(
    name: str,
    places: Places = Places(),
    listener: Listener = _NOBODY,
    retries: int | None = None,
    overrides: Sequence[str] = (),
    retry_failed: bool = False,
) -> "Outcome":
    """Go on with a sweep to its end; see `launch`.

    Args:
        overrides: a larger budget, as ``budget.trials=32``.
        retry_failed: begin the trials that failed anew.
    """
    from sweep.run import launch as launching

    folder = existing(places.home or default_home(), name)
    settings = {
        "data_root": str(places.data_root.absolute()) if places.data_root else None,
        "weights_dir": str(places.weights_dir.absolute()) if places.weights_dir else None,
        "tracking_uri": kept_address(places.tracking_uri) if places.tracking_uri else None,
        "address": places.address,
        "retries": retries,
        "local": places.local if places.local or places.address else None,
    }
    changed = {key: value for key, value in settings.items() if value is not None}
    return launching.resume(
        folder, listener, launching.Changes(tuple(overrides), changed, retry_failed)
    )


def results(name: str, places: Places = Places()) -> Results:
    """Read the results of a sweep, as far as it is.

    Raises SweepError, with the nearest names, if there is none.
    """
    return Results(home_results(existing(places.home or default_home(), name)))


def compare(
    *names: str,
    metric: str | None = None,
    margin: float | None = None,
    places: Places = Places(),
    against: Path | str | None = None,
) -> ComparisonResult:
    """Compare the cells of one or several sweeps.

    Args:
        metric: what to rank by; the first sweep's objective.
        margin: a difference that would not matter; the first space's.
        against: CSV table of published numbers to show beside ours; nothing is tested against
            them.

    Raises SweepError for sweeps that are not there or cannot be compared.
    """
    if not names:
        raise SweepError("name at least one sweep to compare")
    published = tuple(read_published(Path(against))) if against else ()
    sweeps = find_results(names, places.home or default_home(), places.tracking_uri)
    comparison = compare_results(sweeps, check_choices(sweeps, metric, margin))
    require_scores(comparison)
    return ComparisonResult(replace(comparison, published=published))
