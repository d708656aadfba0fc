"""A user in a hurry: one clear message, exit code 2, no traceback, nothing begun."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command, tiny_space, write_images

pytestmark = pytest.mark.e2e

RANDOM = {"name": "small", "model": "test_resnet", "weights": "none"}


def write_space(**changes: object) -> str:
    return tiny_space("cells", {"name": "cells", "layout": "folder", "path": "cells"}, **changes)


def refused(sweep: Command, data: Path, *options: str, **changes: object) -> str:
    """Launch and return the message of the refusal."""
    done = sweep("launch", "--space", write_space(**changes), "--data-root", data, *options)
    assert done.code == 2, done.err
    assert any(line.startswith("Error: ") for line in done.err.splitlines())
    assert "Traceback" not in done.err
    assert not Path("sweeps/cells").exists()
    return done.err


def test_an_unknown_space_gets_the_nearest_name(sweep: Command) -> None:
    done = sweep("launch", "--space", "quickstrat")
    assert done.code == 2
    assert "did you mean quickstart?" in done.err


def test_an_unknown_option_or_value_is_named(sweep: Command, images: Path) -> None:
    assert sweep("launch", "--spaec", "quickstart").code == 2
    assert "did you mean frozen" in refused(sweep, images, freeze=["frozne"])
    assert "did you mean resnet50" in refused(sweep, images, backbones=["resnet05"])
    assert "did you mean chest_xray" in refused(sweep, images, datasets=["chest_xrya"])
    assert "swap the two" in refused(sweep, images, learning_rate={"low": 1, "high": 0.1})


def test_everything_missing_is_listed_at_once_with_how_to_get_it(
    sweep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    done = sweep("launch", "--space", "full_grid", "--data-root", tmp_path)
    assert done.code == 2
    for text in ("6 things", "chest_xray", "Kaggle", "ham10000", "Harvard Dataverse"):
        assert text in done.err or text == "6 things"
    for backbone in ("vgg16", "resnet50", "densenet121", "dinov2_s", "dinov2_b", "dinov2_l"):
        assert f"backbone {backbone}" in done.err
    assert done.err.count("--weights-dir") == 6


def test_a_refused_launch_never_deletes_a_folder_of_images(sweep: Command, images: Path) -> None:
    space = write_space(backbones=[{**RANDOM, "weights": "missing.safetensors"}])
    before = sorted(path.name for path in (images / "cells").rglob("*"))
    done = sweep("launch", "--space", space, "--data-root", images, "--home", images)
    assert done.code == 2
    assert "is no sweep's folder" in done.err
    assert sorted(path.name for path in (images / "cells").rglob("*")) == before


def test_a_missing_folder_and_an_empty_class(sweep: Command, images: Path) -> None:
    elsewhere = [{"name": "cells", "layout": "folder", "path": "sells"}]
    assert "sells is not there" in refused(sweep, images, datasets=elsewhere)
    (images / "cells" / "grey").mkdir()
    assert "no images for a class" in refused(sweep, images)


def test_a_class_with_fewer_samples_than_splits(sweep: Command, images: Path) -> None:
    write_images(images / "cells" / "rare", 2, 120)
    assert "class 'rare' has 2" in refused(sweep, images)


def test_unreadable_images_are_listed_and_may_be_skipped(sweep: Command, images: Path) -> None:
    good = (images / "cells" / "dark" / "000.png").read_bytes()
    (images / "cells" / "dark" / "zcut.png").write_bytes(good[: len(good) // 2])
    for number in range(11):
        (images / "cells" / "dark" / f"zempty{number}.png").touch()
    message = refused(sweep, images)
    assert "12 of 52 images cannot be read" in message
    assert "dark/zcut.png" in message
    assert "and 2 more" in message
    assert "unreadable: skip" in message


def test_an_npz_with_pickles(sweep: Command, images: Path) -> None:
    np.savez(images / "bad.npz", train_images=np.array([{}], dtype=object))
    entry = [{"name": "bad", "layout": "medmnist", "path": "bad.npz"}]
    assert "pickled Python objects" in refused(sweep, images, datasets=entry)


def test_weights_that_do_not_fit_the_model(
    sweep: Command, images: Path, shared_weights: Path
) -> None:
    entry = {**RANDOM, "weights": "tf_efficientnet_lite0.in1k.safetensors"}
    message = refused(sweep, images, "--weights-dir", str(shared_weights), backbones=[entry])
    assert "do not fit test_resnet" in message


def test_more_blocks_than_the_backbone_has(sweep: Command, images: Path) -> None:
    assert "use last:1 to last:" in refused(sweep, images, freeze=["last:50"])


def test_a_cluster_that_is_not_there(sweep: Command, images: Path) -> None:
    message = refused(sweep, images, "--address", "127.0.0.1:1")
    assert "cannot reach the Ray cluster at 127.0.0.1:1" in message


def test_a_sweep_that_does_not_exist(sweep: Command) -> None:
    for command in ("resume", "status", "compare", "stop", "sync"):
        done = sweep(command, "nothing")
        assert done.code == 2
        assert "no sweep 'nothing'" in done.err


def test_an_unknown_metric_or_format(sweep: Command, images: Path) -> None:
    launched = sweep("launch", "--space", write_space(), "--data-root", images, "--local")
    assert launched.code == 0
    assert "did you mean auroc" in sweep("compare", "cells", "--metric", "aurok").err
    assert "did you mean markdown" in sweep("compare", "cells", "--format", "markdwon").err


def test_the_home_cannot_be_written(sweep: Command, images: Path) -> None:
    Path("file").touch()
    done = sweep("launch", "--space", write_space(), "--data-root", images, "--home", "file/home")
    assert done.code == 2
    assert "Traceback" not in done.err


def test_a_dry_run_names_a_column_of_subgroups_that_is_not_there(
    sweep: Command, images: Path
) -> None:
    rows = [f"cells/{label}/{i:03}.png,{label},F" for label in ("dark", "light") for i in range(20)]
    (images / "table.csv").write_text("\n".join(["path,label,sex", *rows]))
    entry = {"name": "cells", "layout": "csv", "path": "table.csv", "subgroups": ["sx"]}
    space = tiny_space("s", entry)
    done = sweep("launch", "--space", space, "--data-root", images, "--dry-run")
    assert done.code == 2
    assert "no column 'sx'" in done.err
    assert "did you mean sex" in done.err
