import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweep.data.dataset import Dataset, DatasetView, open_dataset
from sweep.data.io.images import decode
from sweep.data.layouts.base import Files
from sweep.data.store import building
from sweep.data.store import image_store as stores
from sweep.data.store.building import StorePlan
from sweep.data.store.image_store import Store, open_store
from sweep.errors import DataError, SweepError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.conftest import ROOT

SPEC = DatasetSpec(name="cells", layout="folder", path="cells")


class Numbered:
    """Images whose pixels tell their number."""

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause

    def open(self, name: str) -> Image.Image:
        time.sleep(self._pause)
        return Image.new("RGB", (8, 8), (int(name) % 256, int(name) // 256, 0))

    def stamps(self, names: Sequence[str]) -> list[str]:
        return list(names)


def opened(spec: DatasetSpec, images: Path, folder: Path) -> Dataset:
    return open_dataset(DatasetView(spec, Split(), 16, "bicubic"), images, folder / "cache")


def open_numbered(folder: Path, count: int = 30, pause: float = 0.0) -> Store:
    names = [str(i) for i in range(count)]
    return open_store(folder, StorePlan(names, names, partial(Numbered, pause), 8, "bilinear"))


def numbers(store: Store) -> list[int]:
    pixels = store.rows(np.arange(len(store)))[:, 0, 0].astype(int)
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


def test_rows_come_back_as_they_were_decoded(images: Path, tmp_path: Path) -> None:
    dataset = opened(SPEC, images, tmp_path)
    rows = np.array([39, 0, 7])
    plain = [
        decode(Image.open(images / "cells" / dataset.manifest.paths[r]), 16, "bicubic")
        for r in rows
    ]
    assert np.array_equal(dataset.store.rows(rows), np.stack(plain))


def test_a_store_of_several_parts_and_batches_finds_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_BATCH_BYTES", 7 * 8 * 8 * 3)
    assert numbers(open_numbered(tmp_path, 300)) == list(range(300))
    assert len(list(tmp_path.glob("*/*.arrow"))) == 10


def test_many_processes_decode_what_one_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = open_numbered(tmp_path / "several", 300)
    monkeypatch.setattr(building.processes, "cpu_count", lambda: 1)
    one = open_numbered(tmp_path / "one", 300)
    assert one.fingerprint == several.fingerprint


def test_it_is_built_once(images: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(2):
        where = (DatasetView(SPEC, Split(), 16, "bicubic"), images, tmp_path / "cache")
        open_dataset(*where, progress=lambda done, total: seen.append(done))
    assert len(seen) == 2  # parts
    assert max(seen) == 40


def test_a_changed_image_gives_another_store(images: Path, tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_dataset(
            DatasetView(SPEC, Split(), 16, "bicubic"), images, tmp_path / "cache"
        ).fingerprint()

    before = fingerprint()
    Image.new("RGB", (24, 24), (255, 0, 0)).save(images / "cells" / "dark" / "000.png")
    assert fingerprint() != before


def test_a_damaged_store_is_built_again(tmp_path: Path) -> None:
    before = open_numbered(tmp_path).fingerprint
    (file,) = tmp_path.glob("*/0000.arrow")
    file.write_bytes(file.read_bytes()[:100])
    assert open_numbered(tmp_path).fingerprint == before


def _building(folder: Path, count: int, pause: float) -> subprocess.Popen[bytes]:
    """Build a store in a process of its own."""
    call = f"open_numbered(Path({str(folder)!r}), {count}, {pause})"
    code = f"from pathlib import Path; from tests.unit.test_store import *; {call}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def test_a_build_that_was_killed_goes_on_from_the_parts_that_were_done(tmp_path: Path) -> None:
    process = _building(tmp_path, 300, 0.01)
    while not list(tmp_path.glob(".*.building/*.json")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".*.building/*.arrow")}
    time.sleep(0.3)  # its workers notice that it is gone
    store = open_numbered(tmp_path, 300)
    assert numbers(store) == list(range(300))
    assert not list(tmp_path.glob(".*.building"))
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.arrow")}
    assert any(kept[path.name] == written for path, written in done.items())


class Crashing(Numbered):
    """As native decoders do on some damaged files, ends the process at 7 and 80."""

    def open(self, name: str) -> Image.Image:
        if name in {"7", "80"}:
            os.abort()
        return super().open(name)


def test_images_that_crash_their_decoder_are_named_and_the_others_decoded(tmp_path: Path) -> None:
    names = [str(i) for i in range(100)]
    store = open_store(tmp_path, StorePlan(names, names, Crashing, 8, "bilinear"))
    assert store.unreadable == dict.fromkeys((7, 80), "the library that decodes it crashed")
    expected = [0 if i in (7, 80) else i for i in range(100)]
    assert numbers(store) == expected


class Killed(Numbered):
    """Its process is killed once, at 50, as one that takes too much memory."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self._mark = mark

    def open(self, name: str) -> Image.Image:
        if name == "50" and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(name)


def test_a_killed_process_is_said_and_what_was_decoded_is_kept(tmp_path: Path) -> None:
    names = [str(i) for i in range(100)]
    plan = StorePlan(names, names, partial(Killed, tmp_path / "mark"), 8, "bilinear")
    with pytest.raises(SweepError, match="lack of memory"):
        open_store(tmp_path / "stores", plan)
    assert numbers(open_store(tmp_path / "stores", plan)) == list(range(100))


def test_two_processes_that_build_at_once_share_one_store(tmp_path: Path) -> None:
    processes = [_building(tmp_path, 30, 0.1) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(list(tmp_path.glob("*/0000.arrow"))) == 1


def test_unreadable_images_are_listed_with_what_to_do(images: Path, tmp_path: Path) -> None:
    for i in range(12):
        (images / "cells" / "dark" / f"bad{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        opened(SPEC, images, tmp_path)
    message = str(caught.value)
    assert "12 of 52 images cannot be read" in message
    assert "and 2 more" in message
    assert "unreadable: skip" in message


def test_unreadable_images_may_be_skipped(images: Path, tmp_path: Path) -> None:
    whole = (images / "cells" / "dark" / "000.png").read_bytes()
    (images / "cells" / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    skipping = SPEC.model_copy(update={"unreadable": "skip"})
    dataset = open_dataset(
        DatasetView(skipping, Split(), 16, "bicubic"), images, tmp_path / "cache"
    )
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    assert len(dataset.manifest) == 41
    assert len(used) == 40
    assert "dark/cut.png" not in {dataset.manifest.ids[row] for row in used}


def test_pixels_of_which_one_bit_has_changed_are_decoded_again(tmp_path: Path) -> None:
    names = [str(i) for i in range(30)]
    plan = StorePlan(names, names, Numbered, 8, "bilinear")
    open_store(tmp_path, plan)
    (file,) = tmp_path.glob("*/0000.arrow")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)
    assert numbers(open_store(tmp_path, plan, verify=True)) == list(range(30))


@pytest.mark.parametrize(
    "error",
    [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "Input/output error"),
     OSError(errno.EMFILE, "Too many open files"), MemoryError()],
)  # fmt: skip
@pytest.mark.parametrize("unreadable", ["error", "skip"])
def test_what_cannot_be_read_for_now_is_named_and_tried_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, unreadable: str
) -> None:
    spec = SPEC.model_copy(update={"unreadable": unreadable})
    where = (DatasetView(spec, Split(), 16, "bicubic"), images, tmp_path / "cache")

    def refuse(files: Files, name: str) -> Image.Image:
        if name == "dark/003.png":
            raise error
        return Image.open(files.root / name)

    with monkeypatch.context() as patched:
        patched.setattr(Files, "open", refuse)
        with pytest.raises(DataError, match=r"cannot be read now:\n  dark/003.png: "):
            open_dataset(*where)
    dataset = open_dataset(*where)
    assert not dataset.store.unreadable


def test_files_of_others_in_the_way_of_a_store_are_left(tmp_path: Path) -> None:
    names = [str(i) for i in range(3)]
    plan = StorePlan(names, names, Numbered, 8, "bilinear")
    place = tmp_path / plan.key
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    with pytest.raises(SweepError, match="is in the way of decoded images"):
        open_store(tmp_path, plan)
    assert (place / "mine.txt").read_text() == "mine"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = stores.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(SweepError, match="no space left"):
        open_numbered(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16", "LA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    pixels = np.linspace(0, 60000 if mode == "I;16" else 255, 400).reshape(20, 20)
    kind = np.uint16 if mode == "I;16" else np.uint8
    image = Image.fromarray(pixels.astype(kind))
    if mode != "I;16":
        image = image.convert(mode)
    path = tmp_path / "image.tif"
    image.save(path)
    rgb = decode(Image.open(path), 10, "bilinear")
    assert rgb.shape == (10, 10, 3)
    assert rgb.dtype == np.uint8
    assert rgb.max() > 200
