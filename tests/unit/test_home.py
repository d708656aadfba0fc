import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.atomic import write_text
from sweep.errors import BusyError, SweepError
from sweep.home import RunRecord, SweepFolder, existing, hashed_id, hashing_key
from sweep.identity import canonical_hash


def record(number: int) -> RunRecord:
    return RunRecord(f"s:d/b/frozen:trial:{number}", "s", "d", "b", "frozen", "trial", "complete")


def test_a_written_record_comes_back_and_waits_in_the_spool(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.write_record(record(3))
    assert folder.records() == [record(3)]
    (marker,) = (folder.path / "spool").iterdir()
    assert folder.record_of(marker.name) == record(3)


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
        "import sys, time; from pathlib import Path; from sweep.home import SweepFolder\n"
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
