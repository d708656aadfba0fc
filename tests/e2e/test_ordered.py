"""Ordered classes through the command line: searched and reported by their own metrics."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command, tiny_space

pytestmark = pytest.mark.e2e


def test_a_sweep_of_ordered_classes_is_searched_compared_and_reported_by_kappa(
    sweep: Command,
) -> None:
    grades = {"name": "grades", "layout": "digits", "ordered": True}
    space = tiny_space(
        "s", grades, freeze=["frozen", "full"], objective="quadratic_kappa", seeds=3,
        recipe={"loss": "earth_mover"}, budget={"trials": 2, "epochs": 2},
    )  # fmt: skip
    done = sweep("launch", "--space", space, "--local")
    assert done.code == 0, done.err
    assert "Quadratic kappa" in done.out
    found = json.loads(sweep("compare", "s", "--format", "json").out)
    for cell in found["cells"]:
        kappa, distance = cell["metrics"]["quadratic_kappa"], cell["metrics"]["mae"]
        assert kappa["low"] < kappa["mean"] < kappa["high"]
        assert 0 <= distance["low"] < distance["mean"] < distance["high"] <= 9
    assert sweep("report", "s", "--output", "report.html").code == 0
    page = Path("report.html").read_text()
    assert "Quadratic kappa" in page
    assert "Mean absolute error" in page
