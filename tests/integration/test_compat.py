"""Private names of Ray: this Ray has them, and a sweep does without them where one has not."""

from pathlib import Path

import pytest
from ray._private import ray_constants
from ray.tune import tune as tunes_own
from ray.tune.execution.tune_controller import TuneController

from sweep.search.ray import compat
from tests.conftest import Command, tiny_space

pytestmark = pytest.mark.integration


def test_this_ray_has_every_private_name_that_is_used() -> None:
    assert compat.missing_of_tune() == compat.missing_of_loopback() == []
    given = {"_node_ip_address": "127.0.0.1", "_temp_dir": None}
    assert compat.known_arguments(**given) == given


def test_tune_uses_our_controller_for_as_long_as_it_runs() -> None:
    with compat.patient_tune():
        assert tunes_own.TuneController is compat.PatientTuneController
    assert tunes_own.TuneController is TuneController


def test_an_argument_that_ray_does_not_know_is_left_out() -> None:
    assert compat.known_arguments(_another_name=1) == {}


def test_a_ray_without_the_private_names_searches_all_the_same_and_it_is_said(
    sweep: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space("s", dataset, freeze=["frozen", "last:1"], budget={"trials": 2, "epochs": 1})
    monkeypatch.delattr(TuneController, "_get_trial_checkpoints")
    monkeypatch.delattr(ray_constants, "ENABLE_RAY_CLUSTERS_ENV_VAR")
    done = sweep("launch", "--space", space)
    assert done.code == 0, done.err
    assert "has no TuneController._get_trial_checkpoints" in done.err
    assert "has no ray._private.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR" in done.err
