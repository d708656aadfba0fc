"""External test sets: which samples they have, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweep.data.dataset import DatasetView
from sweep.data.external import open_external
from sweep.errors import DataError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images


def dataset(**changes: object) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {"name": "cells", "layout": "folder", "path": "cells",
         "external": {"hospital_b": {"layout": "folder", "path": "b"}}, **changes}
    )  # fmt: skip


def opened(of: DatasetSpec, root: Path) -> object:
    (spec,) = of.external
    return open_external(DatasetView(spec, Split(), 32, "bilinear"), of, root, root / "cache")


@pytest.fixture
def root(images: Path) -> Path:
    write_images(images / "b" / "dark", 6, 75, prefix="b")
    write_images(images / "b" / "light", 6, 175, prefix="b")
    return images


def test_all_its_samples_are_tested_under_the_classes_of_the_data_set(root: Path) -> None:
    found = opened(dataset(positive="dark"), root)
    assert len(found.rows("test")) == 12
    assert found.classes == ["light", "dark"]
    names = [found.manifest.ids[row].split("/")[0] for row in found.rows("test")]
    assert [found.classes[label] for label in found.labels[found.rows("test")]] == names


def test_pictures_of_the_data_set_are_left_out_and_counted(root: Path) -> None:
    for name in ("000.png", "001.png"):
        with Image.open(root / "cells" / "dark" / name) as image:
            image.save(root / "b" / "dark" / f"again{name}")
    found = opened(dataset(leaks="drop"), root)
    assert len(found.rows("test")) == 12
    assert "2 pictures that are pictures of cells" in found.dropped[0]
    with pytest.raises(DataError, match="2 pictures that are pictures of cells"):
        opened(dataset(leaks="error"), root)
    assert len(opened(dataset(leaks="allow"), root).rows("test")) == 14


def test_a_picture_at_another_size_is_known_again(root: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(root / "cells" / "dark" / "large.png")
    Image.fromarray(pixels).resize((64, 64)).save(root / "b" / "dark" / "small.jpg", quality=90)
    assert "dark/small.jpg" in opened(dataset(leaks="drop"), root).dropped[0]


@pytest.mark.parametrize(
    ("folder", "words"),
    [("drak", "classes drak are none of the data set's, dark, light"), ("", "no sample of light")],
)
def test_other_classes_are_refused(root: Path, folder: str, words: str) -> None:
    (root / "b" / "light").rename(root / "away")
    if folder:
        (root / "away").rename(root / "b" / folder)
    with pytest.raises(DataError, match=words):
        opened(dataset(), root)


def test_a_known_name_may_stand_for_an_external_set() -> None:
    (spec,) = dataset(external={"kermany": "chest_xray"}).external
    assert (spec.name, spec.layout) == ("kermany", "folder")


def test_an_entry_without_places_names_no_path() -> None:
    text = dataset().without_place().model_dump_json()
    assert '"b"' not in text
    assert "hospital_b" in text
