"""What MLflow gets of a finished sweep besides its runs: models and figures of its cells."""

from collections.abc import Iterable
from dataclasses import dataclass

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.report import figures
from sweep.comparison.report.svg import standalone
from sweep.errors import SweepError, first_line
from sweep.records.folder import SweepFolder
from sweep.run.export import example_images
from sweep.run.winner import load_winner
from sweep.tracking.cells import CellRun, cell_runs, log_figures, note
from sweep.train.kept import Classifier

_FIGURES, _MODEL = "sweep.figures", "sweep.model"  # tags: of which results a run has them


@dataclass(frozen=True)
class Published:
    """What was sent, and what could not be.

    Attributes:
        models: cells whose models MLflow has now.
        problems: in words.
    """

    models: list[str]
    problems: list[str]


def publish(
    folder: SweepFolder, comparison: Comparison, register: bool, all_models: bool = False
) -> Published:
    """Send the figures of every cell, and the model of the best cell of each data set.

    Whatever fails is told and leaves the rest; what MLflow has is not sent again.

    Args:
        register: put the best model of each data set into MLflow's registry, as SWEEP-DATASET.
        all_models: send the models of the other cells, too.
    """
    settings, done = folder.settings(), Published([], [])
    try:
        runs = cell_runs(folder.name, settings.id, settings.tracking_uri)
    except Exception as error:  # the server or the network may fail in many ways
        return Published([], [f"figures and models are not in MLflow: {_reason(error)}"])
    for dataset, rows in comparison.datasets.items():
        best = rows[0] if rows else None
        for row in rows:
            run = runs.get(row.cell.name)
            if run is None:
                continue
            try:
                _send_figures(run, dataset, row)
                if row is best or all_models:
                    name = f"{folder.name}-{dataset}" if register and row is best else None
                    _send_model(folder, run, row, name, done)
            except Exception as error:
                done.problems.append(f"{row.cell.name} in MLflow: {_reason(error)}")
    return done


def _send_figures(run: CellRun, dataset: str, row: Row) -> None:
    if run.tags.get(_FIGURES) == run.content:
        return
    objective = f"val/{row.cell.confirmations[0].params['objective']}"
    drawn = {
        "roc": figures.roc_curves(dataset, [row]),
        "reliability": figures.reliability(dataset, [row]),
        "validation": figures.training_curves(dataset, [row], objective),
    }
    log_figures(run, {f"{name}.svg": standalone(svg) for name, svg in drawn.items()})
    note(run, _FIGURES, run.content)


def _send_model(
    folder: SweepFolder, run: CellRun, row: Row, registered: str | None, done: Published
) -> None:
    from sweep.tracking.model import log_model

    wanted = f"{run.content} {registered or ''}".rstrip()
    if run.tags.get(_MODEL, "").startswith(wanted):
        return
    winner = load_winner(folder, row.cell.name)
    network = Classifier(winner.model).eval()
    name = row.cell.name.replace("/", "-").replace(":", "")
    images, about = example_images(winner), network.description
    log_model(run.uri, run.run_id, name, network, images, about, registered)
    note(run, _MODEL, wanted)
    done.models.append(row.cell.name)


def _reason(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, SweepError) else f"{type(error).__name__}: {text}"


def sentences(done: Published, registered: bool) -> Iterable[str]:
    """Say what was sent and what was not."""
    if done.models:
        where = "MLflow, registered" if registered else "MLflow"
        yield f"models in {where}: {', '.join(done.models)}"
    yield from done.problems
