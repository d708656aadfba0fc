"""Ten thousand damaged inputs for each reader: read, or refused in words, never anything else."""

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sweep.data.io.images import decode, open_picture
from sweep.data.layouts import read_samples
from sweep.data.store.building import _is_transient
from sweep.errors import DataError, SweepError
from sweep.space.file import load_space
from sweep.space.specs import DatasetSpec
from tests.conftest import ROOT, write_images

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]

CASES = 10_000
ODD = ["", ",", ";", '"', "\n", "\r", "\t", "|", "nan", "-1", "1.0", "007", "\0", "\ufeff", "é",
       "\u200b", "../", "\\", "x" * 300, "train", "{", "[", ":", "- ", "!!python/object:os.system",
       "&a", "*a", "0x10", "1e999", "null", "true", "'"]  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, insert, repeat or cut a few bytes, or write something odd among them."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            data[place:place] = rng.choice(ODD).encode()
        elif kind == 2:
            del data[place : place + rng.randrange(1, 20)]
        elif kind == 3:
            data[place:place] = data[place : place + rng.randrange(1, 40)]
        else:
            data = data[: max(1, place)] if rng.random() < 0.2 else data
    return bytes(data)


def each_case(content: bytes, use: Callable[[bytes], object], allowed: type[Exception]) -> int:
    """Use ten thousand damaged versions; return how many were refused."""
    rng, refused = random.Random(0), 0
    for number in range(CASES):
        case = mutated(content, rng)
        try:
            use(case)
        except allowed as error:
            assert str(error).strip(), case
            refused += 1
        except Exception as error:
            raise AssertionError(f"case {number}: {case[:2000]!r}") from error
    return refused


def test_tables(tmp_path: Path) -> None:
    write_images(tmp_path / "img", 12, 100)
    rows = [f"img/{i:03}.png,{'ab'[i % 2]},p{i // 2},{'train' if i < 8 else 'test'}"
            for i in range(12)]  # fmt: skip
    path = tmp_path / "table.csv"
    spec = DatasetSpec(name="d", layout="csv", path="table.csv")

    def use(content: bytes) -> None:
        path.write_bytes(content)
        read_samples(spec, tmp_path)

    content = "\n".join(["path,label,group,split", *rows]).encode()
    assert CASES / 4 < each_case(content, use, DataError) < CASES


def test_arrays(tmp_path: Path) -> None:
    images, labels = np.zeros((6, 4, 4), np.uint8), np.arange(6)[:, None] % 2
    buffer = io.BytesIO()
    np.savez(buffer, train_images=images, train_labels=labels)
    path = tmp_path / "a.npz"
    spec = DatasetSpec(name="d", layout="medmnist", path="a.npz")

    def use(content: bytes) -> None:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_samples(spec, tmp_path)

    assert CASES / 4 < each_case(buffer.getvalue(), use, DataError) < CASES


def test_space_files(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    content = (ROOT / "search_spaces" / "full_grid.yaml").read_bytes()
    small = yaml.safe_dump({**yaml.safe_load(content), "datasets": ["digits"]}).encode()

    def use(case: bytes) -> None:
        path.write_bytes(case)
        load_space(str(path), [], ())

    assert CASES / 4 < each_case(small, use, SweepError) < CASES


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp", "npy"])
def test_pictures_that_are_damaged_are_no_failure_of_the_machine(
    tmp_path: Path, suffix: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    whole, rng = path.read_bytes(), random.Random(0)
    for number in range(CASES):
        path.write_bytes(mutated(whole, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                decode(open_picture(path), 16, "bilinear")
        except Exception as error:
            assert not _is_transient(error), (number, error)
