"""What reviewers ask for, through the command line: other hospitals, subgroups, mistakes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sweep.records.home import hashed_id
from tests.conftest import Command, tiny_space

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CELL = "cells/small/frozen"
MODES = ["frozen", "logreg", "full"]


def write_pictures(folder: Path, count: int, brightness: float, seed: int) -> list[str]:
    """Write pictures of varying brightness, some to be misclassified; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, names = np.random.default_rng(seed), []
    for i in range(count):
        level = brightness + rng.normal() * 25
        pixels = np.clip(level + rng.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}_{i:03}.png")
        names.append(f"{seed}_{i:03}.png")
    return names


@pytest.fixture
def space(tmp_path: Path) -> str:
    """A space of pictures in a table with a column sex, and an external set that is darker."""
    root = tmp_path / "data"
    lines = ["path,label,sex"]
    for seed, (label, level) in enumerate({"dark": 100, "light": 150}.items()):
        names = write_pictures(root / "pictures", 60, level, seed)
        lines += [f"pictures/{name},{label},{'FM'[i % 2]}" for i, name in enumerate(names)]
        write_pictures(root / "hospital_b" / label, 25, level - 20, 10 + seed)
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    dataset = {
        "name": "cells", "layout": "csv", "path": str(root / "table.csv"), "subgroups": ["sex"],
        "external": {"b": {"layout": "folder", "path": str(root / "hospital_b")}},
    }  # fmt: skip
    return tiny_space(
        "s", dataset, freeze=MODES, budget={"trials": 2, "epochs": 2}, seeds=3, image_size=48,
        keep_models="all", split={"test": 0.5}, recipe={"preset": "modern"},
        backbones=[{"name": "small", "model": "test_resnet", "weights": "none"}],
    )  # fmt: skip


@pytest.fixture
def done(sweep: Command, space: str) -> Command:
    launched = sweep("launch", "--space", space, "--local")
    assert launched.code == 0, launched.err
    assert "cells.b: external test set, 50 (dark 25, light 25)" in launched.err
    return sweep


def confirmations(cell: str) -> list[dict]:
    records = [json.loads(path.read_text()) for path in Path("sweeps/s/runs").glob("*.json")]
    found = [r for r in records if r["kind"] == "confirmation" and r["freeze"] == cell]
    return sorted(found, key=lambda record: record["number"])


def test_the_winner_goes_to_the_reader_and_the_reviewer(done: Command, tmp_path: Path) -> None:
    """One sweep, which takes its time, and all that is made of it."""
    key = bytes.fromhex(Path("sweeps/.ids.key").read_text())
    outside, inside = tmp_path / "data" / "hospital_b", tmp_path / "data" / "pictures"
    for mode in MODES:
        of_b = pd.read_parquet(stored(confirmations(mode)[0]["external"]["b"]["predictions"]))
        found = predicted(done, f"cells/small/{mode}", outside)
        names = [Path(path).relative_to(outside) for path in found["path"]]
        found["sample"] = [hashed_id(key, f"cells.b/{name}") for name in names]
        both = found.merge(of_b, on="sample", suffixes=("", "_stored"))
        assert len(both) == 50
        for column in ("p_light", "uncalibrated_light"):
            assert np.abs(both[column] - both[f"{column}_stored"]).max() < 1e-4

        found = predicted(done, f"cells/small/{mode}", inside, "--ensemble")
        found["sample"] = [
            hashed_id(key, f"cells/pictures/{Path(path).name}") for path in found["path"]
        ]
        tables = [pd.read_parquet(stored(r["predictions"])) for r in confirmations(mode)]
        mean = pd.concat(tables).groupby("sample", as_index=False).mean(numeric_only=True)
        both = found.merge(mean, on="sample", suffixes=("", "_stored"))
        assert len(both) == len(tables[0])
        assert np.abs(both["p_light"] - both["p_light_stored"]).max() < 1e-4

    document = json.loads(done("compare", "s", "--format", "json").out)
    assert [item["external"] for item in document["external"]] == ["b"] * 3
    assert document["external"][0]["change"]["mean"] == pytest.approx(
        document["external"][0]["metrics"]["auroc"]["mean"]
        - document["cells"][0]["metrics"]["auroc"]["mean"]
    )
    (first, *_) = document["subgroups"]
    assert [item["value"] for item in first["values"]] == ["F", "M"]
    assert sum(item["samples"] for item in first["values"]) == 60
    assert len(document["operating_points"]) == 4 * len(MODES)

    assert done("report", "s", "--output", "report.html").code == 0
    page = Path("report.html").read_text()
    headings = ["External test set b", "Subgroups by sex", "Operating points", "Decision curves"]
    for heading in [*headings, "what the temperature does"]:
        assert heading in page

    named = done("errors", "s", CELL, "--output", "e.csv", "--gallery", "g.html")
    assert named.code == 0, named.err
    mistakes, tables = (
        pd.read_csv("e.csv"),
        [pd.read_parquet(stored(r["predictions"])) for r in confirmations("frozen")],
    )
    mean = np.mean([table[["p_dark", "p_light"]].to_numpy() for table in tables], axis=0)
    wrong = mean.argmax(axis=1) != tables[0]["label"].to_numpy()
    hashes = {hashed_id(key, f"cells/{name}") for name in mistakes["picture"]}
    assert hashes == set(tables[0]["sample"][wrong])
    assert mistakes["probability"].is_monotonic_decreasing
    gallery = Path("g.html").read_text()
    assert gallery.splitlines()[0] == (
        "<!-- This file holds pictures of patients: keep it where the data may be kept. -->"
    )
    cards, maps = min(50, int(wrong.sum())), gallery.count('alt="Heat map of ')
    assert gallery.count("data:image/jpeg") == cards + maps
    assert maps == cards - gallery.count("No heat map") > 0

    damaged = confirmations("full")[0]["external"]["b"]["predictions"]
    stored(damaged).write_bytes(b"nothing")
    other = done("compare", "s")
    assert (other.code, "cells/small/full is left out of b" in other.err) == (0, True)
    other = done("verify", "s")
    assert (other.code, damaged in other.out) == (1, True)

    other = done("errors", "s", "cells/small/frozn")
    assert (other.code, "did you mean cells/small/frozen" in other.err) == (2, True)
    Path("sweeps/.ids.key").write_text("00" * 32)
    other = done("errors", "s", CELL)
    assert other.code == 2
    assert "the home has another key" in other.err


def stored(name: str) -> Path:
    return Path("sweeps/s/predictions") / name


def predicted(done: Command, cell: str, *images: Path | str) -> pd.DataFrame:
    ended = done("predict", "s", cell, *images, "--output", "p.csv")
    assert ended.code == 0, ended.err
    return pd.read_csv("p.csv")


def test_an_external_set_with_other_classes_is_refused(
    sweep: Command, space: str, tmp_path: Path
) -> None:
    (tmp_path / "data" / "hospital_b" / "light").rename(tmp_path / "data" / "hospital_b" / "lihgt")
    refused = sweep("launch", "--space", space, "--local")
    assert refused.code == 2
    assert "external set b of cells: its classes lihgt are none of" in refused.err
