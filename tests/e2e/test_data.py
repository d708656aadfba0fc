"""`sweep data` on real pictures: the leaks that are known to be there, decoding ahead."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Command

pytestmark = pytest.mark.e2e


def findings(text: str) -> dict[str, dict[str, object]]:
    return {finding["kind"]: finding for finding in json.loads(text)["findings"]}


def test_the_leaks_of_brain_mri_are_found(sweep: Command, shared_data: Path) -> None:
    done = sweep("data", "check", "brain_mri", "--json", "--data-root", shared_data)
    assert done.code == 1
    found = findings(done.out)
    assert found["copies_across_splits"]["count"] == 213
    assert "244 of 2,870 pictures of train and 251 of 394" in str(found["copies_across_splits"])
    inside = found["copies_within_splits"]["count"]
    assert 213 + int(str(inside)) == 300


def test_impact_shows_what_the_leaks_are_worth(
    sweep: Command, shared_data: Path, shared_weights: Path
) -> None:
    arguments = ("data", "check", "brain_mri", "--impact", "--json", "--data-root", shared_data)
    done = sweep(*arguments, "--weights-dir", shared_weights)
    impact = json.loads(done.out)["impact"]
    assert impact["with_leaks"]["auroc"] > 0.85
    assert impact["without_leaks"]["auroc"] < 0.75
    assert impact["removed"] >= 244


def test_sound_data_give_exit_code_0(sweep: Command, shared_data: Path) -> None:
    done = sweep("data", "check", "chest_xray", "--data-root", shared_data)
    assert done.code == 0
    assert "Nothing that would bias a comparison" in done.out
    assert "PNEUMONIA" in done.out


@pytest.mark.parametrize(
    "path", ["lgg_mri/kaggle_3m", "glioma_volumes", "pneumoniamnist.npz", "ichallenge_pm"]
)
def test_a_path_is_checked_as_what_it_is(sweep: Command, shared_data: Path, path: str) -> None:
    modality = ("--modality", "t1") if path == "glioma_volumes" else ()
    done = sweep("data", "check", shared_data / path, "--json", *modality)
    assert done.code in {0, 1}
    assert sum(json.loads(done.out)["images"]["train"].values()) >= 48


def test_an_entry_of_a_space_is_checked(sweep: Command, images: Path) -> None:
    Path("s.yaml").write_text(
        "name: s\ndatasets:\n  - {name: mine, layout: folder, path: cells, group: '^(.)'}\n"
        "backbones: [lite0]\n"
    )
    done = sweep("data", "check", "mine", "--space", "s.yaml", "--data-root", images, "--json")
    assert "groups_with_several_labels" in findings(done.out)
    wrong = sweep("data", "check", "yours", "--space", "s.yaml", "--data-root", images)
    assert (wrong.code, "mine" in wrong.err) == (2, True)


def test_prepare_decodes_all_sizes_of_a_space_once(sweep: Command, images: Path) -> None:
    Path("s.yaml").write_text(
        "name: s\ndatasets:\n  - {name: mine, layout: folder, path: cells}\n"
        "backbones: [lite0, {name: r, model: test_resnet, weights: none}]\nimage_size: 32\n"
    )
    first = sweep("data", "prepare", "s.yaml", "--data-root", images)
    assert first.code == 0
    assert "mine at 32 px: 40 images decoded" in first.out
    again = sweep("data", "prepare", "s.yaml", "--data-root", images)
    assert "there already" in again.out
    assert "decoded" not in again.out
    planned = sweep("launch", "--space", "s.yaml", "--data-root", images, "--dry-run")
    assert "To decode: nothing" in planned.out


def test_prepare_refuses_what_the_disk_cannot_hold(
    sweep: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    done = sweep("data", "prepare", images / "cells")
    assert done.code == 2
    assert "need 0.01 GiB" in done.err
    assert "cells at 224 px: 40 images, 6 MiB" in done.err


def test_what_cannot_be_downloaded_leaves_nothing_behind(sweep: Command, tmp_path: Path) -> None:
    pytest.importorskip("medmnist", reason="needs the extra sweep[medmnist]")
    root = tmp_path / "empty"
    done = sweep("data", "prepare", "bloodmnist", "--data-root", root)
    if done.code == 0:
        pytest.skip("there is a network: it was downloaded")
    assert done.code == 2
    assert "cannot be downloaded" in done.err
    assert list(root.iterdir()) == []


def test_list_tells_what_is_there_and_how_to_get_the_rest(
    sweep: Command, shared_data: Path
) -> None:
    lines = sweep("data", "list", "--data-root", shared_data).out.splitlines()
    by_name = {line.split()[0]: line for line in lines}
    assert by_name["glioma_t1ce"].endswith("there")
    assert "grand-challenge" in by_name["ichallenge_amd"]
