import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweep.data import store as stores
from sweep.data.datasets import is_decoded, open_dataset
from sweep.data.images import decode
from sweep.data.store import Store, open_store
from sweep.errors import DataError, SweepError
from sweep.space import DatasetSpec, Split

SPEC = DatasetSpec(name="cells", layout="folder", path="cells")


def open_numbered(folder: Path, count: int = 30, pause: float = 0.0) -> Store:
    """Open a store of images whose pixels tell their number."""

    def opener():
        def read(name: str) -> Image.Image:
            time.sleep(pause)
            return Image.new("RGB", (8, 8), (int(name), 0, 0))

        return read

    names = [str(i) for i in range(count)]
    return open_store(folder, names, names, opener, 8, "bilinear")


def test_rows_come_back_as_they_were_decoded(images: Path, tmp_path: Path) -> None:
    dataset = open_dataset(SPEC, Split(), 16, "bicubic", images, tmp_path / "cache")
    rows = np.array([39, 0, 7])
    plain = [
        decode(Image.open(images / "cells" / dataset.manifest.paths[r]), 16, "bicubic")
        for r in rows
    ]
    assert np.array_equal(dataset.store.rows(rows), np.stack(plain))


def test_a_store_of_several_batches_finds_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_BATCH_BYTES", 7 * 8 * 8 * 3)
    store = open_numbered(tmp_path)
    assert store.rows(np.arange(30))[:, 0, 0, 0].tolist() == list(range(30))


def test_it_is_built_once(images: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(2):
        where = (SPEC, Split(), 16, "bicubic", images, tmp_path / "cache")
        open_dataset(*where, progress=lambda done, total: seen.append(done))
    assert seen == [40]
    assert is_decoded(*where)


def test_a_changed_image_gives_another_store(images: Path, tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_dataset(SPEC, Split(), 16, "bicubic", images, tmp_path / "cache").fingerprint()

    before = fingerprint()
    Image.new("RGB", (24, 24), (255, 0, 0)).save(images / "cells" / "dark" / "000.png")
    assert fingerprint() != before


def test_a_damaged_store_is_built_again(tmp_path: Path) -> None:
    before = open_numbered(tmp_path).fingerprint
    (file,) = tmp_path.glob("*/images.arrow")
    file.write_bytes(file.read_bytes()[:100])
    assert open_numbered(tmp_path).fingerprint == before


def _build(folder: Path) -> None:
    open_numbered(folder, pause=0.1)


def test_a_builder_that_is_killed_half_way_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_build, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob(".*.building")):
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert open_numbered(tmp_path).rows(np.arange(30))[:, 0, 0, 0].tolist() == list(range(30))


def test_two_processes_that_build_at_once_share_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(tmp_path.glob("*/images.arrow"))) == 1


def test_unreadable_images_are_listed_with_what_to_do(images: Path, tmp_path: Path) -> None:
    for i in range(12):
        (images / "cells" / "dark" / f"bad{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        open_dataset(SPEC, Split(), 16, "bicubic", images, tmp_path / "cache")
    message = str(caught.value)
    assert "12 of 52 images cannot be read" in message
    assert "and 2 more" in message
    assert "unreadable: skip" in message


def test_unreadable_images_may_be_skipped(images: Path, tmp_path: Path) -> None:
    whole = (images / "cells" / "dark" / "000.png").read_bytes()
    (images / "cells" / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    skipping = SPEC.model_copy(update={"unreadable": "skip"})
    dataset = open_dataset(skipping, Split(), 16, "bicubic", images, tmp_path / "cache")
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    assert len(dataset.manifest) == 41
    assert len(used) == 40
    assert "dark/cut.png" not in {dataset.manifest.ids[row] for row in used}


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
