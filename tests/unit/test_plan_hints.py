"""What a launch says where some of its data sets are not there."""

from pathlib import Path

from sweep.run.plan import what_is_there
from sweep.space.model import Space


def space(*names: str) -> Space:
    datasets = [{"name": name, "layout": "folder", "path": name} for name in names]
    return Space.model_validate({"name": "s", "datasets": datasets, "backbones": ["lite0"]})


def test_the_option_that_launches_with_what_is_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "eyes").mkdir()
    assert what_is_there(space("eyes", "skin"), tmp_path) == (
        "To launch with the data sets that are there: --only dataset=eyes"
    )


def test_there_is_no_hint_where_all_or_none_are_there(tmp_path: Path) -> None:
    (tmp_path / "eyes").mkdir()
    assert what_is_there(space("eyes"), tmp_path) is None
    assert what_is_there(space("skin", "ears"), tmp_path) is None
