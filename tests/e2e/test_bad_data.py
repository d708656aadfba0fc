"""Damaged and doubtful data: a message that names the file or row, and nothing half-written."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command, tiny_space, write_images

nibabel = pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")
pydicom = pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")

pytestmark = pytest.mark.e2e


def refused(sweep: Command, data: Path, entry: dict[str, object]) -> str:
    """Launch on a dataset and return the message of the refusal."""
    space = tiny_space("bad", {"name": "cells", **entry})
    done = sweep("launch", "--space", space, "--data-root", data)
    assert done.code == 2, done.out
    assert done.err.startswith("Error: ")
    assert "Traceback" not in done.err
    assert not Path("sweeps/bad").exists()
    cache = Path(os.environ["SWEEP_CACHE"])
    assert not list(cache.rglob(".*.building"))
    return done.err


FOLDER: dict[str, object] = {"layout": "folder", "path": "cells"}


def _bomb(path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(path, "PNG")


def _truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1000])


def _empty(path: Path) -> None:
    path.touch()


def _no_pixels(path: Path) -> None:
    shutil.copy(Path(pydicom.data.__file__).parent / "test_files" / "rtplan.dcm", path)


def _not_numbers(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 8), np.nan, "f4"), np.eye(4)), path)


@pytest.mark.parametrize(
    ("damage", "name", "said"),
    [
        (_bomb, "x.png", "exceeds limit"),
        (_truncated, "x.png", "truncated"),
        (_empty, "x.jpg", "cannot identify"),
        (_no_pixels, "x.dcm", "holds no pixels"),
        (_not_numbers, "x.nii.gz", "voxels are not numbers"),
        (_empty, "x.nii", "Empty"),
        (_empty, "x.dcm", "File"),
    ],
)
def test_a_damaged_file_is_named(
    sweep: Command, images: Path, damage: object, name: str, said: str
) -> None:
    damage(images / "cells" / "dark" / name)  # type: ignore[operator]
    message = refused(sweep, images, FOLDER)
    assert "1 of 41 images cannot be read" in message
    assert f"dark/{name}: " in message
    assert said in message


def test_a_loop_of_links_is_named(sweep: Command, images: Path) -> None:
    (images / "cells" / "dark" / "up").symlink_to("..")
    assert f"{images}/cells/dark/up is a link to a folder that holds it" in refused(
        sweep, images, FOLDER
    )


def test_a_link_to_itself_is_named(sweep: Command, images: Path) -> None:
    (images / "cells" / "dark" / "self.png").symlink_to("self.png")
    assert "dark/self.png" in refused(sweep, images, FOLDER)


def test_a_link_that_leads_nowhere_is_named(sweep: Command, images: Path) -> None:
    (images / "cells" / "dark" / "gone.png").symlink_to("nowhere.png")
    assert "dark/gone.png is a link that leads nowhere" in refused(sweep, images, FOLDER)


def test_linked_class_folders_are_followed(sweep: Command, images: Path) -> None:
    (images / "linked").mkdir()
    for label in ("dark", "light"):
        (images / "linked" / label).symlink_to(images / "cells" / label)
    assert sweep("data", "check", images / "linked").code == 0


def test_classes_that_differ_in_case_alone(sweep: Command, images: Path) -> None:
    write_images(images / "cells" / "DARK", 5, 90)
    message = refused(sweep, images, FOLDER)
    assert "'DARK' (first: DARK/000.png) and 'dark' (first: dark/000.png)" in message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,label\n{rows}", "has no column 'path'"),
        ("path,label\n{rows}\ndark/gone.png,a", "row 42: "),
        ("path,label\n{rows}\ndark/000.png,a", "more than once: row 42"),
        ("path,label,group\n{grouped}\nlight/019.png,b,", "1 rows have no group: row 42"),
        ("path,label,split\n{split}", "class 'b' has no sample in train"),
    ],
)
def test_a_table_with_a_mistake_names_the_row(
    sweep: Command, images: Path, table: str, said: str
) -> None:
    files = [(f"{c}/{i:03}.png", label) for c, label in (("dark", "a"), ("light", "b"))
             for i in range(20)]  # fmt: skip
    text = table.format(
        rows="\n".join(f"{path},{label}" for path, label in files),
        grouped="\n".join(f"{path},{label},{path}" for path, label in files),
        split="\n".join(f"{p},{v},{'train' if v == 'a' else 'test'}" for p, v in files),
    )
    (images / "cells" / "table.csv").write_text(text)
    assert said in refused(sweep, images, {"layout": "csv", "path": "cells/table.csv"})


def test_names_in_unicode_are_fine(sweep: Command, tmp_path: Path) -> None:
    for label, brightness in (("gesund 健康", 60), ("kränk", 180)):
        write_images(tmp_path / "Ünïcode 数据" / label, 20, brightness, prefix="bïld 图 ")
    done = sweep("data", "check", tmp_path / "Ünïcode 数据")
    assert done.code == 0
    assert "gesund 健康" in done.out


def test_a_volume_whose_header_promises_too_much_is_refused(sweep: Command, tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 100))
    header["magic"], header["vox_offset"] = b"n+1", 352
    rows = ["patient,modality,path,grade"]
    for i in range(8):
        (tmp_path / f"p{i}.nii").write_bytes(header.binaryblock + bytes(5000))
        rows.append(f"p{i},t1,p{i}.nii,{2 + i % 2}")
    (tmp_path / "volumes.csv").write_text("\n".join(rows))
    entry = {"layout": "volumes", "path": "volumes.csv", "modality": "t1"}
    assert "is more than the" in refused(sweep, tmp_path, entry)


def test_a_dry_run_says_that_a_column_of_patients_groups_nothing(
    sweep: Command, images: Path
) -> None:
    files = sorted(path.relative_to(images) for path in (images / "cells").rglob("*.png"))
    rows = [f"{file},{file.parent.name},P{i // 2}" for i, file in enumerate(files)]
    (images / "table.csv").write_text("\n".join(["path,label,patient_id", *rows]))
    entry = {"name": "cells", "layout": "csv", "path": "table.csv"}
    space = tiny_space("s", entry)
    done = sweep("launch", "--space", space, "--data-root", images, "--dry-run")
    assert "write group: 'patient_id' into the entry" in done.out
    space = tiny_space("s", {**entry, "group": "patient_id"})
    done = sweep("launch", "--space", space, "--data-root", images, "--dry-run")
    assert done.code == 0
    assert "patient_id" not in done.out
