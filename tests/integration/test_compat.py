"""Private names of Ray: this Ray has them, and a sweep does without them where one has not."""

from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray.tune import tune as tunes_own
from ray.tune.execution.tune_controller import TuneController

from sweep.search.ray import compat
from tests.conftest import Command, tiny_space

pytestmark = [pytest.mark.integration, pytest.mark.ray]


def test_this_ray_has_every_private_name_that_is_used() -> None:
    assert compat.missing_of_tune() == compat.missing_of_loopback() == []


@pytest.mark.parametrize("known", [True, False])
def test_hidden_arguments_are_given_to_a_ray_that_knows_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    given: list[dict[str, object]] = []

    def init(**arguments: object) -> None:
        given.append(arguments)
        if "_temp_dir" in arguments and not known:
            raise RuntimeError("Unknown keyword argument(s): _temp_dir")

    monkeypatch.setattr(ray, "init", init)
    compat.start_ray({"_temp_dir": None}, address="local")
    assert given[-1] == ({"address": "local", "_temp_dir": None} if known else {"address": "local"})
    assert ("has no _temp_dir" in caplog.text) != known


def test_tune_uses_our_controller_for_as_long_as_it_runs() -> None:
    with compat.patient_tune():
        assert tunes_own.TuneController is compat.PatientTuneController
    assert tunes_own.TuneController is TuneController


def test_a_ray_without_the_private_names_searches_all_the_same_and_it_is_said(
    sweep: Command,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space("s", dataset, freeze=["frozen", "last:1"], budget={"trials": 2, "epochs": 1})
    monkeypatch.setattr(compat, "_tune", None)
    monkeypatch.delattr(ray_constants, "ENABLE_RAY_CLUSTERS_ENV_VAR")
    done = sweep("launch", "--space", space)
    assert done.code == 0, done.err
    assert "has no ray.TuneController" in done.err
    assert "ray._private.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR" in caplog.text
