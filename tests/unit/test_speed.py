"""How fast processors are: assumed by name, measured by the loops that train and predict."""

import pytest

from sweep.space.model import Space
from sweep.train import speed
from sweep.train.speed import assumed_speed, is_known, measure_speed


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200, 139 GiB", 989), ("NVIDIA A100-SXM4-80GB, 79 GiB", 312),
        ("NVIDIA A10G, 22 GiB", 70), ("NVIDIA RTX A4000, 16 GiB", 77), ("NVIDIA L4, 22 GiB", 121),
        ("NVIDIA L40S, 44 GiB", 362), ("NVIDIA H100 PCIe, 79 GiB", 756), ("Tesla T4, 15 GiB", 8),
        ("NVIDIA H100 80GB HBM3, 79 GiB", 989), ("AMD Instinct MI300X, 192 GiB", 1307),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_the_word_in_its_name(name: str, peak: float) -> None:
    assert is_known(name)
    assert assumed_speed(name).training == pytest.approx(0.25 * peak * 1e12)


@pytest.mark.parametrize("name", ["NVIDIA T400, 4 GiB", "NVIDIA RTX A400, 4 GiB", "Some GPU"])
def test_a_gpu_of_another_name_is_not_taken_for_one_that_is_known(name: str) -> None:
    assert not is_known(name)


def test_a_measured_speed_is_that_of_the_same_loop_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0.5)
    entry = {"name": "b", "model": "test_resnet", "weights": "none"}
    space = Space.model_validate(
        {"name": "s", "datasets": ["digits"], "backbones": [entry], "freeze": ["frozen", "full"],
         "image_size": 32}
    )  # fmt: skip
    found = measure_speed(space, space.backbones[0], 1)
    assert 0 < found.training < 1e13
    assert 0 < found.scoring < 1e13
    frozen = space.model_copy(update={"freeze": ["frozen"]})
    alone = measure_speed(frozen, space.backbones[0], 1)
    assert alone.training == alone.scoring
