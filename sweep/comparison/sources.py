"""Where the results of a sweep are: its folder, or MLflow if that is gone."""

from pathlib import Path

from sweep.base.settings import given_tracking_uri
from sweep.records.home import existing, find
from sweep.records.results import SweepResults, home_results


def find_results(
    names: tuple[str, ...], home: Path, tracking_uri: str | None
) -> list[SweepResults]:
    """Return the results of sweeps, each name once.

    Args:
        tracking_uri: read from this tracking store; by default a sweep's folder under `home`,
            and the default tracking store for sweeps without one.

    Raises SweepError, with the nearest names, for a sweep that is in neither.
    """
    return [_find(name, home, tracking_uri) for name in dict.fromkeys(names)]


def _find(name: str, home: Path, tracking_uri: str | None) -> SweepResults:
    if tracking_uri is None and (find(home, name) or not _tracked_here()):
        return home_results(existing(home, name))
    from sweep.base.settings import default_tracking_uri
    from sweep.tracking.reader import tracked_results

    return tracked_results(name, tracking_uri or default_tracking_uri(), home)


def _tracked_here() -> bool:
    return bool(given_tracking_uri()) or Path("mlflow.db").is_file()
