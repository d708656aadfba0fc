"""The program of a model card prepares a picture as training did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from sweep.backbones.families.base import Preprocessing
from sweep.data.io.images import decode
from sweep.run.example import example
from sweep.train.kept import KeptModel


@pytest.mark.parametrize("crop", [None, 0.875, 0.9])
@pytest.mark.parametrize("shape", [(300, 400), (401, 300), (40, 50)])
def test_the_picture_becomes_the_pixels_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: float | None, shape: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(noise).save("picture.jpeg")
    chosen = Preprocessing((0.5,) * 3, (0.5,) * 3, "bicubic", crop)
    model = KeptModel(nn.Identity(), ["a", "b"], 48, chosen, tmp_path, {})  # type: ignore[arg-type]
    program, _, _ = example(model, "onnx").partition("session =")
    names: dict[str, Any] = {}
    exec(program, names)
    wanted = decode(Image.open("picture.jpeg"), 48, "bicubic", crop)
    np.testing.assert_array_equal(names["images"][0].transpose(1, 2, 0) * 255, wanted)
