import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.base.atomic import write_text
from sweep.base.identity import canonical_hash
from sweep.errors import BusyError, SweepError
from sweep.records.folder import Settings, SweepFolder
from sweep.records.home import existing, hashed_id, hashing_key
from sweep.records.record import RunRecord
from sweep.records.status import read_all
from sweep.space.model import Space


def record(number: int) -> RunRecord:
    return RunRecord(f"s:d/b/frozen:trial:{number}", "s", "d", "b", "frozen", "trial", "complete")


def test_a_written_record_comes_back_and_waits_in_the_spool(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.write_record(record(3))
    assert folder.records() == [record(3)]
    (marker,) = (folder.path / "spool").iterdir()
    assert folder.record_of(marker.name) == record(3)


def test_a_record_of_which_one_digit_has_changed_is_damaged(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.write_record(replace(record(3), test={"auroc": 0.875}))
    (path,) = (folder.path / "runs").iterdir()
    path.write_text(path.read_text().replace("0.875", "0.975"))
    with pytest.raises(SweepError, match=r"is damaged.*SHA-256.*makes the run anew"):
        folder.records()


def test_the_content_of_a_record_is_that_of_its_file(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    odd = replace(record(3), test={"auroc": float("nan"), "accuracy": 0.1 + 0.2}, error='",é')
    folder.write_record(odd)
    (read,) = folder.records()
    assert read.content == odd.content != record(3).content


def launched(tmp_path: Path) -> SweepFolder:
    """A sweep's folder in which everything lies that a sweep may write."""
    folder = SweepFolder(tmp_path, "s")
    space = Space.model_validate({"name": "s", "datasets": ["digits"], "backbones": ["lite0"]})
    folder.create(space, Settings("a1b2c3d4e5f6", "now", str(tmp_path), None, "sqlite:///x", None))
    folder.write_record(record(3))
    hashes = {"predictions": ".parquet", "validation": ".parquet", "kept": ".pt", "logs": ".log",
              "checkpoints": ".pt"}  # fmt: skip
    for name, suffix in hashes.items():
        folder.file(name, "key", suffix).touch()
    model = folder.file("models", "key", "")
    for path in ("ledger.journal", "ledger.db", "ledger.db-wal", "pulse.json", "finished",
                 "answer.md", "sweep.log", "sync.lock", f"{model}/model.safetensors",
                 f"{model}/model.json", ".space.yaml.0a1b2c3d",
                 "tune.a1b2c3d4e5f6/s/x/params.pkl"):  # fmt: skip
        write_text(folder.path / path, "x")
    return folder


def test_a_sweep_that_goes_on_has_no_answer(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    folder.write_answer("a is best")
    assert folder.answer() == "a is best"
    folder.reopen(forget_failures=False)
    assert folder.answer() is None


def test_remove_deletes_all_that_a_sweep_writes(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    folder.remove()
    assert not list(tmp_path.iterdir())


OWN = ["notes.txt", ".notes.20261126", "runs/.notes.20261126", "figures/a.png",
       "runs/notes.txt", "models/mine/model.safetensors", "predictions/mine.parquet",
       "tune/mine.txt", "report.html", "damaged"]  # fmt: skip


@pytest.mark.parametrize("mine", OWN)
def test_remove_leaves_and_names_what_the_sweep_did_not_write(tmp_path: Path, mine: str) -> None:
    folder = launched(tmp_path)
    write_text(folder.path / mine, "mine")
    with pytest.raises(SweepError, match="removed, but not all in it") as told:
        folder.remove()
    assert mine.split("/", maxsplit=1)[0] in str(told.value)
    assert [p.read_text() for p in folder.path.rglob("*") if p.is_file()] == ["mine"]
    assert not folder.exists()


@pytest.mark.parametrize("link", ["models", "runs", "checkpoints", "ledger.journal"])
def test_remove_leaves_what_is_behind_a_link_and_names_it(tmp_path: Path, link: str) -> None:
    folder = launched(tmp_path / "home")
    (folder.path / link).rename(tmp_path / "elsewhere")
    (folder.path / link).symlink_to(tmp_path / "elsewhere")
    behind = sorted(path.name for path in (tmp_path / "elsewhere").rglob("*"))
    with pytest.raises(SweepError, match=f"{link}: a link, to {tmp_path}/elsewhere"):
        folder.remove()
    assert sorted(path.name for path in (tmp_path / "elsewhere").rglob("*")) == behind
    assert [path.name for path in folder.path.iterdir()] == [link]


def test_a_sweep_behind_a_link_is_removed_and_the_link_named(tmp_path: Path) -> None:
    folder = launched(tmp_path / "disk")
    folder.path.rename(tmp_path / "large")
    folder.path.symlink_to(tmp_path / "large")
    with pytest.raises(SweepError, match="s: a link, to"):
        folder.remove()
    assert not list((tmp_path / "large").iterdir())


def test_what_cannot_be_deleted_is_named_and_the_sweep_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launched(tmp_path)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "predictions":  # as in a folder of somebody else
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(
        SweepError, match=r"not all could be removed:\n.*parquet: Permission denied"
    ):
        folder.remove()
    assert folder.exists()


@pytest.mark.parametrize("name", ["..", ".", "../s", "s/", "a/../s", "/tmp", "", "x" * 101])
def test_a_path_is_no_name_of_a_sweep(tmp_path: Path, name: str) -> None:
    launched(tmp_path)
    with pytest.raises(SweepError, match="no sweep"):
        existing(tmp_path, name)


def test_a_refused_launch_leaves_files_that_are_called_as_its_own(tmp_path: Path) -> None:
    write_text(tmp_path / "s" / "sweep.log", "mine")
    with pytest.raises(SweepError), SweepFolder(tmp_path, "s").locked():
        raise SweepError("no data")
    assert (tmp_path / "s" / "sweep.log").read_text() == "mine"


def test_who_runs_a_sweep_deletes_what_a_dead_process_was_writing(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    key = canonical_hash("key")
    half = [".finished.7f0aea29", f"runs/.{key}.json.7f0aea29", ".launch.json.7f0aea29",
            f"models/{key}/.model.safetensors.7f0aea29"]  # fmt: skip
    mine = [".notes.20261126", "runs/.notes.json.7f0aea29", "launch.json"]
    for path in half + mine:
        write_text(folder.path / path, "x")
    with folder.locked():
        pass
    assert not [path for path in half if (folder.path / path).exists()]
    assert all((folder.path / path).exists() for path in mine)


def test_to_look_at_a_sweep_nothing_is_opened_for_writing(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    with folder.locked():
        pass
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in [*before, tmp_path]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert not folder.is_running()
    assert [status.state for status in read_all(tmp_path)] == ["finished"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("file", ["launch.json", "space.yaml", "runs"])
def test_one_damaged_file_hides_no_other_sweep(tmp_path: Path, file: str) -> None:
    sound, folder = launched(tmp_path / "x"), launched(tmp_path)
    sound.path.rename(tmp_path / "sound")
    path = folder.path / file
    if file == "runs":
        (path,) = path.iterdir()
    path.write_text("{")
    by_name = {status.name: status for status in read_all(tmp_path)}
    assert by_name["sound"].state == "finished"
    assert not by_name["sound"].damaged
    assert list(by_name["s"].damaged) == [path.name]
    assert by_name["s"].state == ("finished" if file == "runs" else "damaged")


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"nonsense": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, damage: str) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.write_record(record(3))
    (path,) = (folder.path / "runs").iterdir()
    path.write_text(damage)
    with pytest.raises(SweepError, match=f"{path.name} is damaged"):
        folder.records()
    for name, read in (("space.yaml", folder.space), ("launch.json", folder.settings)):
        (folder.path / name).write_text(damage)
        with pytest.raises(SweepError, match=f"{name} is damaged"):
            read()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        write_text(pipe, "a table")
        assert reader.communicate(timeout=10)[0] == "a table"
    assert pipe.is_fifo()


def test_only_one_process_runs_a_sweep_and_the_other_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sweep.records.folder import SweepFolder\n"
        f"with SweepFolder(Path({str(tmp_path)!r}), 's').locked():\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        folder = SweepFolder(tmp_path, "s")
        assert folder.is_running()
        with pytest.raises(BusyError, match=f"process {holder.pid} on"), folder.locked():
            pass
    finally:
        holder.kill()
        holder.wait()
    with folder.locked():  # a killed process leaves the lock free
        pass


def test_a_refused_launch_leaves_no_trace(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    with pytest.raises(SweepError), folder.locked():
        raise SweepError("no data")
    assert not folder.path.exists()


def test_a_folder_that_holds_other_files_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    write_text(folder.path / "images" / "a.png", "a picture")
    with pytest.raises(SweepError, match="holds images and is no sweep's folder"), folder.locked():
        pass
    assert [str(p.relative_to(folder.path)) for p in folder.path.rglob("*")] == [
        "images",
        "images/a.png",
    ]


def test_a_refused_launch_takes_back_its_own_files_alone(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    with pytest.raises(SweepError), folder.locked():
        write_text(folder.path / "notes.txt", "put there meanwhile")
        raise SweepError("no data")
    assert [path.name for path in folder.path.iterdir()] == ["notes.txt"]


def test_what_a_launch_was_writing_when_it_died_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.path.mkdir()
    (folder.path / ".preparing.json.0a1b2c3d").touch()
    with folder.locked():
        pass


def test_a_file_in_the_way_of_a_sweep_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "s", "a file")
    with pytest.raises(SweepError, match="it is no folder"), SweepFolder(tmp_path, "s").locked():
        pass


def test_an_unknown_sweep_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    write_text(tmp_path / "chest" / "launch.json", "{}")
    with pytest.raises(SweepError, match="did you mean chest"):
        existing(tmp_path, "chset")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_ids_are_keyed_hashes_that_only_this_homes_key_gives(tmp_path: Path) -> None:
    key = hashing_key(tmp_path / "one")
    assert hashing_key(tmp_path / "one") == key
    assert hashing_key(tmp_path / "two") != key
    assert (tmp_path / "one" / ".ids.key").stat().st_mode & 0o777 == 0o600
    assert hashed_id(key, "patient 7") == hashed_id(key, "patient 7")
    assert "7" not in {hashed_id(key, "patient 7"), hashed_id(hashing_key(tmp_path / "two"), "7")}


def test_learning_rates_that_differ_in_the_last_bit_have_different_identities() -> None:
    assert canonical_hash(1e-5) != canonical_hash(1.0000000000000002e-5)
    assert canonical_hash({"a": 1, "b": 2}) == canonical_hash({"b": 2, "a": 1})


def test_a_sweep_that_prepares_is_known_and_can_be_asked_to_stop(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    with pytest.raises(SweepError, match="stop"), folder.locked():
        folder.mark_preparing("decoding eyes at 224 px", 12_000, 90_000)
        (status,) = read_all(tmp_path)
        assert status.state == "preparing"
        assert status.preparing == {"what": "decoding eyes at 224 px", "done": 12_000,
                                    "total": 90_000}  # fmt: skip
        found = existing(tmp_path, "s")
        found.ask_to_stop()
        assert folder.is_asked_to_stop()
        raise SweepError("stop")
    assert read_all(tmp_path) == []
    assert not folder.path.exists()


def test_a_folder_that_was_renamed_does_not_go_on(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    folder.refuse_other_name()
    folder.path.rename(tmp_path / "other")
    with pytest.raises(SweepError, match="was launched as 's', and has been renamed or copied"):
        SweepFolder(tmp_path, "other").refuse_other_name()
