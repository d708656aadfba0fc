"""No patient, file name, path or DICOM tag in anything that a sweep leaves for others to see."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import Command, tiny_space

pydicom = pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

PATIENT, STUDY, FILE = "ZEBRAPATIENT", "ZEBRASTUDY", "ZEBRAFILE"


def write_dicom(path: Path, brightness: int, patient: str, seed: int) -> None:
    source = Path(pydicom.data.__file__).parent / "test_files" / "MR_small.dcm"
    dataset = pydicom.dcmread(source)
    noise = np.random.default_rng(seed).integers(-30, 30, (64, 64))
    dataset.PixelData = (brightness + noise).astype(np.int16).tobytes()
    dataset.PatientName = dataset.PatientID = patient
    dataset.StudyDescription = STUDY
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Pictures whose file names and tags name the patients; one patient is in two splits."""
    root = tmp_path / "data" / "ZEBRAFOLDER"
    for split, first in (("train", 0), ("test", 17)):
        for label, brightness in (("ill", 60), ("well", 180)):
            for i in range(first, first + 18):
                patient = f"{PATIENT}{label}{i}"
                name = f"{patient}_{FILE}{i}.dcm"
                seed = 1000 * i + brightness + len(split)
                write_dicom(root / split / label / name, brightness, patient, seed)
    cut = (root / "train" / "ill" / f"{PATIENT}ill1_{FILE}1.dcm").read_bytes()[:5000]
    (root / "train" / "well" / f"{PATIENT}well98_{FILE}98.png").touch()
    (root / "train" / "ill" / f"{PATIENT}ill99_{FILE}99.dcm").write_bytes(cut)
    return root


def everything_in(folder: Path) -> dict[str, bytes]:
    """All bytes below a folder, file names included, databases as text."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            if path.suffix == ".db":
                with sqlite3.connect(path) as connection:
                    text += "\n".join(connection.iterdump()).encode()
            found[str(path.relative_to(folder))] = str(path.relative_to(folder)).encode() + text
    return found


def test_nothing_of_a_patient_is_in_what_a_sweep_leaves(
    sweep: Command, clinic: Path, tmp_path: Path
) -> None:
    entry = {
        "name": "clinic",
        "layout": "folder",
        "path": clinic.name,
        "group": "^([^_]+)_",
        "unreadable": "skip",
    }
    space = tiny_space("private", entry, freeze=["frozen", "full"])
    done = sweep("launch", "--space", space, "--data-root", clinic.parent)
    assert done.code == 0, done.err
    assert "of a group that is there too" in done.err  # the patient in two splits, not named
    shown = {"standard output": done.out.encode(), "standard error": done.err.encode()}
    for style in ("table", "json", "csv", "markdown", "latex"):
        shown[style] = sweep("compare", "private", "--format", style).out.encode()
    assert sweep("report", "private").code == 0
    left = everything_in(Path.cwd()) | everything_in(tmp_path / "cache")
    # What the owner wrote himself, and what `sweep resume` needs: they never leave the home.
    own = {"space.yaml", "sweeps/private/space.yaml", "sweeps/private/launch.json"}
    names = [PATIENT, STUDY, FILE, "ZEBRAFOLDER", str(clinic.parent)]
    for place, text in {**left, **shown}.items():
        if place not in own:
            assert not [name for name in names if name.encode() in text], place
    assert any(place.endswith(".parquet") for place in left)


def test_the_ids_of_predictions_are_hashed_with_the_homes_own_key(
    sweep: Command, images: Path
) -> None:
    space = tiny_space("keyed", {"name": "cells", "layout": "folder", "path": "cells"})
    ids = []
    for home in ("one", "two"):
        done = sweep("launch", "--space", space, "--data-root", images, "--home", home, "--local")
        assert done.code == 0, done.err
        (path,) = Path(home).rglob("*.parquet")
        ids.append(set(pd.read_parquet(path)["sample"]))
    assert len(ids[0]) == len(ids[1])
    assert not ids[0] & ids[1]


def test_the_pictures_themselves_stay_in_the_cache(
    sweep: Command, images: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (24, 24)).save(images / "cells" / "dark" / "x.png")
    assert sweep("data", "prepare", images / "cells", "--image-size", "32").code == 0
    assert not list(Path.cwd().rglob("*"))
    assert list((tmp_path / "cache" / "stores").glob("*/*.arrow"))


def test_a_password_of_the_tracking_server_is_nowhere(
    sweep: Command, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "ZEBRAPASSWORD"
    uri = f"http://user:{secret}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    space = tiny_space("secret", {"name": "cells", "layout": "folder", "path": "cells"})
    said = []
    for command in (
        ("launch", "--space", space, "--data-root", images, "--local"),
        ("sync", "secret"),
        ("resume", "secret", "--local"),
        ("compare", "secret"),
        ("compare", "secret", "--tracking-uri", uri),
        ("report", "secret"),
        ("verify", "secret"),
        ("status", "secret"),
        ("ui",),
        ("launch", "--space", space, "--data-root", images, "--dry-run"),
    ):
        done = sweep(*command)
        said.append(f"{command}: {done.out}{done.err}")
    assert "3 results wait for MLflow at http://user@127.0.0.1:9" in said[0], said[0]
    assert not [text for text in said if secret in text.partition(": ")[2]]
    left = everything_in(Path.cwd()) | everything_in(tmp_path / "cache")
    assert not [place for place, content in left.items() if secret.encode() in content]
