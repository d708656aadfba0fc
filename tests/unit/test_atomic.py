"""Files that are whole or absent, whenever a process dies."""

from pathlib import Path

import pytest

from sweep.base.atomic import delete_temporaries, write_new, write_text


def test_a_file_that_another_process_made_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    def slowly(temporary: Path) -> None:
        temporary.write_text("ours")
        write_text(path, "theirs")

    write_new(path, slowly)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("mlflow.db", "theirs")]


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
def test_a_new_file_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:  # as a USB stick does
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_new(tmp_path / "new", lambda path: path.write_text("whole"))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("new", "whole")]


def test_what_dead_processes_were_writing_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a[1].arrow.0123abcd", "a[1].arrow", ".a1.arrow.0123abcd", ".a[1].arrow.notes"):
        write_text(tmp_path / name, "x")
    delete_temporaries(tmp_path / "a[1].arrow")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".a1.arrow.0123abcd", ".a[1].arrow.notes", "a[1].arrow"]
