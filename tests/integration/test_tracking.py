"""MLflow is a projection of the results: a real tracking store, its outages included."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweep.errors import SweepError
from sweep.records.folder import Settings, SweepFolder
from sweep.records.record import RunRecord
from sweep.records.results import home_results
from sweep.space.model import Space
from sweep.tracking.experiment import pages
from sweep.tracking.reader import tracked_results
from sweep.tracking.runs import log_report
from sweep.tracking.spool import Spool
from sweep.tracking.store import make_database, refuse_tracking
from tests.simulated import as_table, classifier

pytestmark = pytest.mark.integration


def sweep_folder(tmp_path: Path, uri: str) -> SweepFolder:
    folder = SweepFolder(tmp_path / "home", "s")
    space = Space.model_validate({"name": "s", "datasets": ["digits"], "backbones": ["lite0"]})
    folder.create(
        space,
        Settings("id", "now", str(tmp_path), None, uri, None, command="sweep launch --space s"),
    )
    return folder


def record(number: int, kind: str = "trial", **changes: object) -> RunRecord:
    values = {
        "key": f"id:digits/lite0/frozen:{kind}:{number}", "sweep": "s", "dataset": "digits",
        "backbone": "lite0", "freeze": "frozen", "kind": kind, "state": "complete",
        "number": number, "started": 100.0, "ended": 110.0, "seconds": 9.5,
        "params": {"learning_rate": 0.1 + 0.2, "epochs": 2, "objective": "auroc", "seed": 0,
                   "backbone_learning_rate": None},
        "history": [{"epoch": e, "train/loss": 1 / e, "val/auroc": 0.7 + e / 10} for e in (1, 2)],
        "best": {"epoch": 2, "value": 0.9, "val/auroc": 0.9, "val/loss": 0.4},
        "facts": {"parameters": 7, "device": "cpu"}, **changes,
    }  # fmt: skip
    return RunRecord(**values)


def runs(uri: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("s")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_trial_is_a_child_of_its_cell_under_the_names_of_the_contract(
    tmp_path: Path, uri: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    Spool(folder, uri).send_all()
    found = {run.data.tags["sweep.kind"]: run for run in runs(uri)}
    trial, cell = found["trial"], found["cell"]
    assert trial.data.tags["mlflow.parentRunId"] == cell.info.run_id
    assert cell.info.run_name == trial.data.tags["sweep.cell"] == "digits/lite0/frozen"
    assert trial.data.tags["sweep.state"] == "complete"
    assert trial.info.status == "FINISHED"
    assert float(trial.data.params["learning_rate"]) == 0.1 + 0.2  # not a rounded one
    assert trial.data.params["dataset"] == "digits"
    assert "backbone_learning_rate" not in trial.data.params
    history = MlflowClient(uri).get_metric_history(trial.info.run_id, "val/auroc")
    assert [(item.step, item.value) for item in history] == [
        (1, pytest.approx(0.8)),
        (2, pytest.approx(0.9)),
    ]


def test_confirmations_and_cells_carry_the_test_metrics(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0, "confirmation", test={"auroc": 0.88}))
    test = {"auroc": 0.88, "auroc_low": 0.8, "auroc_high": 0.9}
    folder.write_record(record(0, "cell", test=test))
    Spool(folder, uri).send_all()
    found = {run.data.tags["sweep.kind"]: run for run in runs(uri)}
    assert found["confirmation"].data.metrics["test/auroc"] == 0.88
    assert found["cell"].data.metrics["test/auroc_low"] == 0.8
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def experiment_tags(uri: str) -> dict[str, str]:
    found = MlflowClient(tracking_uri=uri).get_experiment_by_name("s")
    assert found is not None
    return dict(found.tags)


def test_an_experiment_is_of_model_training_and_has_a_view_with_a_line_for_each_cell(
    tmp_path: Path, uri: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    test = {"auroc": 0.8812, "auroc_low": 0.8, "auroc_high": 0.9}
    for each in (record(0), record(0, "cell", test=test)):
        folder.write_record(each)
    Spool(folder, uri).send_all()
    tags = experiment_tags(uri)
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.cells"])
    state = json.loads(view["state"])
    client = MlflowClient(tracking_uri=uri)
    (cell,) = client.search_runs(["1"], state["searchFilter"], order_by=[state["orderByKey"]])
    assert state["selectedColumns"][0] == "attributes.`Description`"
    assert cell.data.tags["mlflow.note.content"] == "auroc 0.881 [0.800, 0.900] lite0/frozen"
    shown = [column.partition(".")[2].strip("`") for column in state["selectedColumns"][1:]]
    assert {**cell.data.params, **cell.data.tags}.keys() >= set(shown)
    assert cell.data.tags["sweep.result"] == "0.881 [0.800, 0.900]"
    assert pages(uri) == {
        "s": "#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=cells"
    }


def test_a_description_of_a_run_that_was_written_by_hand_is_left(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    spool = Spool(folder, uri)
    spool.send_all()
    (cell,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "cell")
    client = MlflowClient(tracking_uri=uri)
    client.set_tag(cell.info.run_id, "mlflow.note.content", "the old scanner's")
    test = {"auroc": 0.8812, "auroc_low": 0.8, "auroc_high": 0.9}
    folder.write_record(record(0, "cell", test=test))
    spool.send_all()
    tags = client.get_run(cell.info.run_id).data.tags
    assert tags["mlflow.note.content"] == "the old scanner's"
    assert tags["sweep.result"] == "0.881 [0.800, 0.900]"
    folder.write_record(record(0, "cell", test={"auroc": 0.7}))  # after more trials
    spool.send_all()
    (cell,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "cell")
    assert cell.data.tags["mlflow.note.content"] == "the old scanner's"
    assert cell.data.tags["sweep.result"] == "0.700"


def test_a_description_of_a_run_follows_its_result(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    spool = Spool(folder, uri)
    for auroc in (0.8, 0.7):
        folder.write_record(record(0))
        folder.write_record(record(0, "cell", test={"auroc": auroc}))
        spool.send_all()
        (cell,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "cell")
        assert cell.data.tags["mlflow.note.content"] == f"auroc {auroc:.3f} lite0/frozen"


def test_a_run_names_its_data_set_its_command_and_the_commit_but_no_place(
    tmp_path: Path, uri: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    counts = {"train": 6, "val": 2, "test": 2}
    facts = {"samples": counts, "fingerprint": "abc", "commit": "d1e5+"}
    folder.write_record(record(0, facts=facts))
    Spool(folder, uri).send_all()
    (trial,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "trial")
    (found,) = trial.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("digits", "abc")
    assert json.loads(found.dataset.profile) == {"num_rows": 10, **counts}
    assert str(tmp_path) not in found.dataset.source
    assert trial.data.tags["mlflow.source.name"] == "sweep launch --space s"
    assert trial.data.tags["mlflow.source.git.commit"] == "d1e5"


def test_the_description_is_the_answer_with_a_link_to_the_report(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    spool = Spool(folder, uri)
    spool.send_all()
    assert "mlflow.note.content" not in experiment_tags(uri)
    folder.write_answer("lite0 is best.")
    spool.send_all()
    assert "lite0 is best." in experiment_tags(uri)["mlflow.note.content"]
    report = tmp_path / "report.html"
    report.write_text("<html>")
    assert log_report("s", "id", uri, report, "lite0 is best.") is None
    (run,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "comparison")
    link = f"#/experiments/1/runs/{run.info.run_id}/artifacts/report.html"
    assert link in experiment_tags(uri)["mlflow.note.content"]
    Spool(folder, uri).send_all()  # another process, which sends the answer again
    assert link in experiment_tags(uri)["mlflow.note.content"]


def test_a_description_that_was_written_by_hand_is_left(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    spool = Spool(folder, uri)
    spool.send_all()
    MlflowClient(uri).set_experiment_tag("1", "mlflow.note.content", "ours: see the wiki")
    folder.write_answer("lite0 is best.")
    spool.send_all()
    assert spool.error is None
    assert experiment_tags(uri)["mlflow.note.content"] == "ours: see the wiki"


def test_an_answer_that_is_longer_than_mlflow_takes_is_cut_at_a_line(
    tmp_path: Path, uri: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    folder.write_answer("\n".join(f"- sentence {i:04d} of many" for i in range(1000)))
    spool = Spool(folder, uri)
    spool.send_all()
    assert spool.error is None
    lines = experiment_tags(uri)["mlflow.note.content"].splitlines()
    assert lines[-3].endswith("of many")
    assert lines[-1] == "... the rest is in the report"


def test_a_failed_run_is_marked_failed_with_the_kind_of_its_error_alone(
    tmp_path: Path, uri: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(
        record(0, state="failed", error="OSError: /data/patient_7.png is gone", history=[], best={})
    )
    Spool(folder, uri).send_all()
    (trial,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "trial")
    assert trial.info.status == "FAILED"
    assert trial.data.tags["sweep.error"] == "OSError"
    assert "patient_7" not in str(trial.to_dictionary())


def test_sending_again_makes_no_duplicates(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    for _ in range(2):
        for number in range(3):
            folder.write_record(record(number))
        folder.write_record(record(0, "cell"))
        Spool(folder, uri).send_all()
    assert len(runs(uri)) == 4


def test_a_run_whose_sender_died_half_way_is_sent_anew(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    Spool(folder, uri).send_all()
    client = MlflowClient(uri)
    (trial,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "trial")
    client.update_run(trial.info.run_id, status="RUNNING")
    folder.write_record(record(0))
    Spool(folder, uri).send_all()
    kinds = [(run.data.tags["sweep.kind"], run.info.status) for run in runs(uri)]
    assert sorted(kinds) == [("cell", "RUNNING"), ("trial", "FINISHED")]


@pytest.mark.parametrize("kind", ["confirmation", "cell"])
def test_a_run_is_replaced_when_its_record_is_another_one(
    tmp_path: Path, uri: str, kind: str
) -> None:
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    folder.write_record(record(0, kind, state="failed", history=[], best={}, error="OSError: no"))
    Spool(folder, uri).send_all()
    folder.write_record(record(0, kind, test={"auroc": 0.8}))  # the rates are as they were
    Spool(folder, uri).send_all()
    found = {run.data.tags["sweep.kind"]: run for run in runs(uri)}
    assert len(runs(uri)) == len(found)
    assert found[kind].info.status == "FINISHED"
    assert found[kind].data.tags["sweep.state"] == "complete"
    assert found[kind].data.metrics["test/auroc"] == 0.8
    parents = {r.data.tags.get("mlflow.parentRunId") for r in runs(uri)} - {None}
    assert parents == {found["cell"].info.run_id}


def test_of_a_key_that_is_there_twice_one_run_is_kept(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    for item in (record(0), record(1), record(0, "cell")):
        folder.write_record(item)
    Spool(folder, uri).send_all()
    client = MlflowClient(uri)
    cell = next(run for run in runs(uri) if run.data.tags["sweep.kind"] == "cell")
    for run in runs(uri):  # as two processes that send at once would have made them
        tags = dict(run.data.tags)
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = cell.info.run_id
        client.create_run(run.info.experiment_id, tags=tags)
    folder.write_record(record(2))
    Spool(folder, uri).send_all()
    keys = [run.data.tags["sweep.key"] for run in runs(uri)]
    assert len(keys) == len(set(keys)) == 4
    (parent,) = {r.data.tags.get("mlflow.parentRunId") for r in runs(uri)} - {None}
    assert parent in {run.info.run_id for run in runs(uri)}


def test_two_that_send_at_once_make_no_run_twice(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    for number in range(20):
        folder.write_record(record(number))
    trackers = [Spool(folder, uri) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(Spool.send_all, trackers))
    assert [tracker.error for tracker in trackers] == [None] * 3
    folder.write_record(record(20))
    trackers[0].send_all()
    folder.write_record(record(20, state="failed"))
    trackers[1].send_all()
    keys = [run.data.tags["sweep.key"] for run in runs(uri)]
    assert len(keys) == len(set(keys)) == 22


def test_the_model_of_a_cell_is_an_artifact(tmp_path: Path, uri: str) -> None:
    folder = sweep_folder(tmp_path, uri)
    (folder.path / "models" / "m").mkdir(parents=True)
    (folder.path / "models" / "m" / "model.json").write_text("{}")
    folder.write_record(record(0, "cell", model="m"))
    Spool(folder, uri).send_all()
    (cell,) = runs(uri)
    names = [item.path for item in MlflowClient(uri).list_artifacts(cell.info.run_id, "model")]
    assert names == ["model/model.json"]


def told(tmp_path: Path, uri: str) -> SweepFolder:
    """A sweep to be sent: two trials of a cell, and a confirmation with predictions."""
    folder = sweep_folder(tmp_path, uri)
    path = folder.path / "predictions" / "p.parquet"
    path.parent.mkdir()
    pq.write_table(as_table(classifier(40, 0.8, 0)), path)
    facts = {"test_samples": "t", "samples": {"train": 5, "val": 2, "test": 40},
             "threads": 2, "images_per_second": 12.5, "weights_hash": "1234567890", "left_out": 0,
             "parameters": 7, "learnable": 3, "torch": "2.14"}  # fmt: skip
    folder.write_record(record(0, facts=facts))
    folder.write_record(record(1, state="pruned", facts=facts))
    confirmed = {"test": {"auroc": 0.8}, "predictions": "p.parquet", "facts": facts}
    folder.write_record(record(0, "confirmation", **confirmed))
    return folder


def test_what_was_sent_is_read_again_as_it_was(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    folder.write_record(
        record(0, "cell", seconds=28.5, facts={"trials": {"complete": 1, "pruned": 1}})
    )
    Spool(folder, uri).send_all()
    (cell,) = (c for c in tracked_results("s", uri, tmp_path).cells if c.confirmations)
    here = next(c for c in home_results(folder).cells if c.confirmations)
    assert (cell.name, cell.states, cell.seconds) == (here.name, here.states, here.seconds)
    (found,), (sent,) = cell.confirmations, here.confirmations
    assert found.facts.items() >= sent.facts.items()
    assert found.params.items() >= {k: v for k, v in sent.params.items() if v is not None}.items()
    assert (found.number, found.key, found.best["value"]) == (0, sent.key, 0.9)
    assert found.test == sent.test
    assert cell.fetch_history(found) == [
        {"epoch": e["epoch"], "train/loss": e["train/loss"], "val/auroc": e["val/auroc"]}
        for e in sent.history
    ]
    assert [t.params["learning_rate"] for t in cell.trials] == [0.1 + 0.2] * 2
    assert [t.state for t in cell.trials] == ["complete", "pruned"]
    np.testing.assert_array_equal(
        cell.predictions()[0].probabilities_NC, here.predictions()[0].probabilities_NC
    )


def test_an_interrupted_sweep_is_read_from_its_trials(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    Spool(folder, uri).send_all()
    results = tracked_results("s", uri, tmp_path)
    assert not results.finished
    cell = next(c for c in results.cells if c.confirmations)
    assert cell.states == {"complete": 1, "pruned": 1}
    assert cell.seconds == pytest.approx(3 * 9.5)


def test_of_two_sweeps_of_one_name_the_newest_is_read(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    Spool(folder, uri).send_all()
    other = SweepFolder(tmp_path / "elsewhere", "s")
    other.create(folder.space(), Settings("newer", "now", "", None, uri, None))
    other.write_record(record(0, key="newer:digits/lite0/frozen:trial:0", started=500.0))
    Spool(other, uri).send_all()
    results = tracked_results("s", uri, tmp_path)
    assert results.id == "newer"
    assert [cell.states.total() for cell in results.cells] == [1, 0]


def test_no_path_of_the_space_is_in_mlflow(tmp_path: Path, uri: str) -> None:
    folder = SweepFolder(tmp_path / "home", "s")
    datasets = [{"name": "d", "layout": "folder", "path": "/secret/place", "train": "t",
                 "test": ["u"]}]  # fmt: skip
    backbones = [{"name": "b", "model": "resnet18", "weights": "hidden_in1k.safetensors"}]
    space = Space.model_validate({"name": "s", "datasets": datasets, "backbones": backbones})
    folder.create(
        space,
        Settings("id", "now", str(tmp_path), None, uri, None, command="sweep launch --space s"),
    )
    folder.write_record(record(0, dataset="d", backbone="b", key="id:d/b/frozen:trial:0"))
    Spool(folder, uri).send_all()
    client = MlflowClient(uri)
    tags = str(client.get_experiment_by_name("s").tags)
    (cell,) = (run for run in runs(uri) if run.data.tags["sweep.kind"] == "cell")
    space_file = Path(client.download_artifacts(cell.info.run_id, "space.json", str(tmp_path)))
    for text in (tags, str(cell.data.tags), space_file.read_text()):
        assert "secret" not in text
        assert "hidden" not in text
    read = tracked_results("s", uri, tmp_path)
    assert read.cells[0].pretraining == "ImageNet"  # which the name of the file told


def test_a_space_in_parts_as_version_0_1_sent_it_is_read(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    Spool(folder, uri).send_all()
    client, text = MlflowClient(uri), folder.space().without_places().model_dump_json()
    experiment = client.get_experiment_by_name("s").experiment_id
    for place, start in enumerate(range(0, len(text), 500)):
        tag = f"sweep.space.id.{place}"
        client.set_experiment_tag(experiment, tag, text[start : start + 500])
    for run in runs(uri):
        if run.data.tags["sweep.kind"] == "cell":
            client.delete_tag(run.info.run_id, "sweep.space")
    results = tracked_results("s", uri, tmp_path)
    assert results.space == folder.space().without_places()
    assert [len(cell.confirmations) for cell in results.cells if cell.confirmations] == [1]


def test_a_space_that_was_raised_is_sent_again(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    Spool(folder, uri).send_all()
    raised = folder.space().model_copy(update={"seeds": 7})
    folder.create(raised, folder.settings())
    folder.write_record(record(2))
    Spool(folder, uri).send_all()
    assert tracked_results("s", uri, tmp_path).space.seeds == 7


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:////nowhere/at/all.db", "cannot be read"),
        ("http://127.0.0.1:9", "cannot be read"),
        ("nonsense://x", "cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read_is_refused_in_words(
    tmp_path: Path, uri: str, said: str
) -> None:
    with pytest.raises(SweepError, match=said):
        tracked_results("s", uri, tmp_path)


@pytest.mark.parametrize("step", [1, 20, 40])
def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none(
    tmp_path: Path, uri: str, step: int
) -> None:
    """MLflow cannot go on with a store of which it has made some tables."""
    code = f"""
import os, sqlalchemy
from sweep.tracking.store import make_database
made = []
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def count(connection, cursor, statement, *_):
    made.extend([statement] if statement.lstrip().startswith("CREATE TABLE") else [])
    if len(made) == {step}:
        os.kill(os.getpid(), 9)
make_database({uri!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "mlflow.db").exists()
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    Spool(folder, uri).send_all()
    assert len(runs(uri)) == 2


def test_a_store_of_which_some_tables_are_missing_is_refused_in_words(
    tmp_path: Path, uri: str
) -> None:
    """As MLflow's own commands leave it when they are killed while they make it."""
    make_database(uri)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DROP TABLE webhooks")
        database.execute("UPDATE alembic_version SET version_num = '534353b11cbc'")
        database.commit()
    with pytest.raises(SweepError, match=r"was killed while it made .*mlflow.db.*move that away"):
        refuse_tracking(uri)
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    tracker = Spool(folder, uri)
    tracker.send_all()
    assert "move that away" in str(tracker.error)


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_text("junk")
    with pytest.raises(SweepError, match=r"cannot be read: .*file is not a database"):
        tracked_results("s", f"sqlite:///{tmp_path / 'junk.db'}", tmp_path)


def test_predictions_that_are_gone_from_mlflow_are_named(tmp_path: Path, uri: str) -> None:
    folder = told(tmp_path, uri)
    Spool(folder, uri).send_all()
    for path in tmp_path.rglob("p.parquet"):
        path.unlink()
    cell = next(c for c in tracked_results("s", uri, tmp_path).cells if c.confirmations)
    with pytest.raises(SweepError, match="MLflow at sqlite"):
        cell.predictions()


def free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_results_wait_while_the_server_is_away_and_are_sent_once_when_it_is_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    folder = sweep_folder(tmp_path, uri)
    folder.write_record(record(0))
    began = time.monotonic()
    with Spool(folder, uri) as tracker:
        folder.write_record(record(1))
    assert tracker.waiting() == 2
    assert tracker.error
    assert time.monotonic() - began < 60
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
         "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
         "--artifacts-destination", str(tmp_path / "artifacts")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        late = Spool(folder, uri)
        end = time.monotonic() + 90
        while late.waiting() and time.monotonic() < end:
            late.send_all()
            time.sleep(0.5)
        assert late.waiting() == 0, late.error
        assert sorted(run.data.tags["sweep.kind"] for run in runs(uri)) == [
            "cell", "trial", "trial",
        ]  # fmt: skip
    finally:
        os.killpg(server.pid, signal.SIGKILL)
