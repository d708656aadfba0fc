"""A compiled network learns what the same network learns without it."""

import numpy as np
import pytest
import torch

from sweep.backbones.backbone import load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial

pytestmark = pytest.mark.integration

SIZE = 32


def tuning(**recipe: object) -> FineTuning:
    pixels = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    rows = {"train": np.arange(8), "val": np.arange(8, 10), "test": np.arange(10, 12)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    backbone = load_backbone(
        BackboneSpec(name="b", model="test_resnet", weights="none"), SIZE, None
    )
    own = Recipe.model_validate({"batch_size": 4, **recipe})
    task = Task(backbone, labels, 2, own, 2, "auroc", 0, torch.device("cpu"))
    trial = Trial(0, {"learning_rate": 1e-3})
    return FineTuning(task, Store.of(pixels, "made up"), rows, "full", trial, keep_best=True)


def test_a_compiled_network_learns_the_same_and_is_kept_under_its_own_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The default backend spends two minutes on this network, and on a CPU needs a C++ compiler.
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: whole(self, backend="aot_eager"))
    plain, compiled = tuning(), tuning(compile=True)
    for made in (plain, compiled):
        made.train_epoch()
        made.train_epoch()
    found, wanted = (made.probabilities("test") for made in (compiled, plain))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert compiled.network().state_dict().keys() == plain.network().state_dict().keys()
    other = tuning(compile=True)
    other.restore(compiled.state())
    np.testing.assert_allclose(other.probabilities("test"), found, atol=1e-6)
