"""Lower layers that do not learn are computed once: training is what it is without that."""

from typing import Any

import numpy as np
import pytest
import torch

from sweep.backbones.backbone import load_backbone
from sweep.backbones.trainable import freeze
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train import finetune
from sweep.train.finetune import FineTuning
from sweep.train.frozen_layers import frozen_names
from sweep.train.learner import Task, Trial

CPU = torch.device("cpu")
MODELS = {
    "test_vit": 160, "test_resnet": 64, "test_efficientnet": 64, "test_convnext": 64, "vgg11": 32,
    "vit_tiny_patch16_224": 32, "eva02_tiny_patch14_224": 28, "swin_tiny_patch4_window7_224": 64,
}  # fmt: skip
SMALLER = {
    "vgg11": {"mlp_ratio": 0.01},
    "swin_tiny_patch4_window7_224": {"embed_dim": 16, "num_heads": (2, 2, 2, 2), "window_size": 2},
}


def backbone(model: str, **more: Any) -> Any:
    smaller = SMALLER.get(model, {})
    entry = {"name": "b", "model": model, "weights": "none", "kwargs": smaller, **more}
    return load_backbone(BackboneSpec.model_validate(entry), MODELS[model], None)


def tuning(model: str, mode: str, more: dict[str, Any] | None = None, **recipe: Any) -> FineTuning:
    rows = {"train": np.arange(0, 11), "val": np.arange(11, 18), "test": np.arange(18, 22)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    size = MODELS[model]
    pixels = np.random.default_rng(0).integers(0, 255, (22, size, size, 3), np.uint8)
    made = Recipe.model_validate({"batch_size": 4, **recipe})
    task = Task(backbone(model, **(more or {})), labels, 2, made, 2, "auroc", 0, CPU)
    trial = Trial(0, {"learning_rate": 1e-3})
    return FineTuning(task, Store.of(pixels, "made up"), rows, mode, trial, keep_best=True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["last:1", "last:2"])
def test_training_above_known_outputs_is_that_above_the_layers_themselves(
    model: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With Adam's usual epsilon a gradient that is 0 but for rounding makes a whole step.
    monkeypatch.setattr("sweep.train.optimizer.EPSILON", 1e-3)
    found = tuning(model, mode, ema_decay=0.5)
    scores = [found.train_epoch() for _ in range(2)]
    assert found._frozen is not None
    monkeypatch.setattr(finetune, "frozen_names", lambda *_: [])
    plain = tuning(model, mode, ema_decay=0.5)
    wanted = [plain.train_epoch() for _ in range(2)]
    assert plain._frozen is None
    for (one,), (two,) in zip(scores, wanted, strict=True):
        assert one.metrics["train/loss"] == pytest.approx(two.metrics["train/loss"], abs=1e-5)
    np.testing.assert_allclose(found.probabilities("test"), plain.probabilities("test"), atol=1e-4)
    for name, tensor in plain.state()["network"].items():
        torch.testing.assert_close(found.state()["network"][name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_all_layers_below_the_first_that_is_trained_are_found(model: str) -> None:
    network = backbone(model).network(2, 0).eval()
    freeze(network, "last:1")
    names = frozen_names(network, torch.randn(2, 3, MODELS[model], MODELS[model]))
    held = {id(p) for name in names for p in network.get_submodule(name).parameters()}
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert sum(p.numel() for p in frozen if id(p) in held) > 0.7 * sum(p.numel() for p in frozen)


@pytest.mark.parametrize(
    ("mode", "more", "recipe"),
    [
        ("full", {}, {}),
        ("lora:2", {}, {}),
        ("bias", {}, {}),
        ("last:1", {}, {"augment": "light"}),
        ("last:1", {"features": "last4"}, {}),
    ],
)
def test_layers_whose_outputs_change_or_are_used_otherwise_are_computed_each_time(
    mode: str, more: dict[str, Any], recipe: dict[str, Any]
) -> None:
    made = tuning("test_vit", mode, more, **recipe)
    made.train_epoch()
    assert made._frozen is None


def test_outputs_that_do_not_fit_in_memory_are_computed_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finetune, "fits_in_memory", lambda *_: False)
    made = tuning("test_vit", "last:1")
    made.train_epoch()
    assert made._frozen is None
