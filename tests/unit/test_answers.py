"""Answers of a head come as files where the home is shared, and in the log of the job elsewhere."""

import os
import time
from pathlib import Path

import pytest

from sweep.remote.answers import Answer, asking, give_answer, take_answer

ANSWER = Answer(1, "a table\n", "a warning\n", "AAEC")


def test_in_a_home_that_both_have_the_answer_is_a_file_and_nothing_is_left(tmp_path: Path) -> None:
    with asking(tmp_path) as question:
        line = give_answer(tmp_path, question, ANSWER)
        assert len(line) < 100
        assert take_answer(tmp_path, question, f"noise\n{line}\n") == ANSWER
    assert list(tmp_path.iterdir()) == []


def test_where_the_homes_are_two_the_answer_is_in_the_log(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with asking(here) as question:
        line = give_answer(there, question, ANSWER)
        assert take_answer(here, question, line) == ANSWER
    assert list(there.iterdir()) == []


def test_a_machine_without_the_home_asks_without_making_one(tmp_path: Path) -> None:
    with asking(tmp_path / "none") as question:
        line = give_answer(tmp_path, question, ANSWER)
        assert take_answer(tmp_path / "none", question, line) == ANSWER
    assert list(tmp_path.iterdir()) == []


def test_a_log_without_an_answer_has_none(tmp_path: Path) -> None:
    assert take_answer(tmp_path, "question", "Traceback\n") is None


def test_an_answer_that_does_not_show_up_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.remote.answers._VISIBLE_S", 0.1)
    with asking(tmp_path) as question:
        line = give_answer(tmp_path, question, ANSWER)
        (tmp_path / ".answers" / f"{question}.json").unlink()
        with pytest.raises(OSError, match="No such file"):
            take_answer(tmp_path, question, line)


def test_what_others_have_not_taken_is_deleted_after_a_day(tmp_path: Path) -> None:
    (tmp_path / ".answers").mkdir()
    old, new = (tmp_path / ".answers" / f"{name}.json" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    with asking(tmp_path):
        assert not old.exists()
    assert new.exists()
