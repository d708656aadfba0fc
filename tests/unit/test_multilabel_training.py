"""Training on several labels a picture: losses, heads against scikit-learn, temperature."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sweep.backbones.backbone import load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Space
from sweep.space.recipe import Recipe
from sweep.train.calibration import fit_temperature, with_temperature
from sweep.train.finetune import FineTuning
from sweep.train.heads import HEADS
from sweep.train.kept import PrototypeHead
from sweep.train.learner import Task, Trial
from sweep.train.losses.base import Loss, loss_of
from sweep.train.neighbors import KNNHead
from sweep.train.probe import BatchedLinearProbe

D, LABELS = 64, 3
SIZES = {"train": 300, "val": 80, "test": 80}
CPU = torch.device("cpu")


def data() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return features, and labels of 50, 30 and 10 % of the samples."""
    rng, features, labels = np.random.default_rng(0), {}, {}
    for split, count in SIZES.items():
        plain = rng.normal(size=(count, D)) * rng.uniform(0.5, 3)
        noisy = plain[:, :LABELS] + rng.normal(size=(count, LABELS))
        labels[split] = torch.from_numpy((noisy > [0, 0.8, 2.0]).astype(np.int64))
        features[split] = torch.from_numpy(plain.astype(np.float32))
    return features, labels


def task(labels: dict[str, Tensor], epochs: int = 1, size: int = 160, **recipe: Any) -> Task:
    spec = BackboneSpec.model_validate({"name": "b", "model": "test_vit", "weights": "none"})
    backbone = load_backbone(spec, size, None)
    how = (Recipe(**recipe), epochs, "auroc", 0, CPU, None, "multilabel")
    return Task(backbone, labels, LABELS, *how)


def trained(head: str, params: list[dict[str, Any]], epochs: int = 1, **recipe: Any) -> Any:
    features, labels = data()
    trials = [Trial(number, item) for number, item in enumerate(params)]
    made = HEADS[head](task(labels, epochs, **recipe), features, trials)
    scores = [made.train_epoch() for _ in range(epochs)]
    assert 0.5 < scores[-1][0].metrics["val/auroc"] <= 1
    return made


def test_the_loss_is_the_mean_binary_cross_entropy_and_its_gradient_that_of_torch() -> None:
    logits_BKC, labels_BC = torch.randn(6, 4, 3), torch.randint(0, 2, (6, 3))
    loss = loss_of("cross_entropy")
    own = binary_cross_entropy_with_logits(logits_BKC[:, 0], labels_BC.float())
    torch.testing.assert_close(loss.mean(logits_BKC[:, 0], labels_BC), own)
    fast = loss.gradient(logits_BKC.clone(), labels_BC)
    torch.testing.assert_close(fast, Loss.gradient(loss, logits_BKC.clone(), labels_BC))
    smoothed = loss.smoothed(logits_BKC[:, 0], labels_BC, 0.1)
    targets = labels_BC * 0.9 + 0.05
    expected = binary_cross_entropy_with_logits(logits_BKC[:, 0], targets, reduction="none")
    torch.testing.assert_close(smoothed, expected.mean(dim=1))


def test_logistic_regression_is_scikit_learns_of_each_label() -> None:
    strengths, (features, labels) = [1e-4, 1e-2, 1.0, 100.0], data()
    made = trained("logistic_regression", [{"C": c} for c in strengths])
    scaler = StandardScaler().fit(features["train"].double().numpy())
    for place, strength in enumerate(strengths):
        oracle = OneVsRestClassifier(LogisticRegression(C=strength, tol=1e-10, max_iter=10_000))
        oracle.fit(scaler.transform(features["train"].double()), labels["train"].numpy())
        expected = oracle.predict_proba(scaler.transform(features["test"].double()))
        found = made.logits(features["test"])[place].sigmoid().numpy()
        assert found == pytest.approx(expected, abs=2e-4)
    assert made.probabilities("test") == pytest.approx(
        made.head()(features["test"]).detach().sigmoid().numpy(), abs=1e-5
    )


def test_neighbours_vote_for_each_of_their_labels() -> None:
    features, labels = data()
    made = trained("nearest_neighbors", [{"n_neighbors": 7, "temperature": 1e6}])
    directions = {split: normalize(item.numpy()) for split, item in features.items()}
    near = np.argsort(-directions["test"] @ directions["train"].T, axis=1)[:, :7]
    expected = labels["train"].numpy()[near].mean(axis=1)
    assert made.probabilities("test") == pytest.approx(expected, abs=1e-4)


def test_prototypes_compare_the_pictures_with_a_label_and_those_without() -> None:
    features, labels = data()
    made = trained("prototypes", [{"temperature": 0.1}])
    train, test = (
        normalize((features[s] - features["train"].mean(0)).numpy()) for s in ("train", "test")
    )
    has = labels["train"].numpy()
    sides = [normalize(side.T @ train) for side in (has, 1 - has)]
    expected = (test @ (sides[0] - sides[1]).T) / 0.1
    assert made.logits(features["test"])[0].numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", [KNNHead, PrototypeHead])
def test_a_kept_head_of_several_labels_is_restored(kind: type[nn.Module]) -> None:
    features, labels = data()
    own = (7, 0.07) if kind is KNNHead else (0.07,)
    head = kind(features["train"], labels["train"], LABELS, *own)
    again = kind.restored(head.description(), dict(head.state_dict()))
    assert torch.equal(again(features["test"]), head(features["test"]))


def test_the_batched_probe_is_a_plain_loop_of_each_member() -> None:
    features, labels = data()
    rates = [1e-3, 1e-2]
    together = trained("linear", [{"learning_rate": rate} for rate in rates], epochs=3)
    for place, rate in enumerate(rates):
        alone = BatchedLinearProbe(
            task(labels, 3), features, [Trial(place, {"learning_rate": rate})]
        )
        for _ in range(3):
            (score,) = alone.train_epoch()
        assert together.best[place].value == pytest.approx(
            score.metrics["val/auroc"], abs=1e-6
        ) or (together.best[place].epoch < 3)
        torch.testing.assert_close(together.weights()[:, place], alone.weights()[:, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_network_is_fine_tuned_on_several_labels(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    labels = {
        s: torch.from_numpy(rng.integers(0, 2, (24, LABELS))) for s in ("train", "val", "test")
    }
    images = rng.integers(0, 60, (72, 32, 32, 3))
    for place, split in enumerate(labels):  # each label brightens one colour
        images[24 * place : 24 * place + 24] += 150 * labels[split].numpy()[:, None, None, :]
    rows = {split: np.arange(24) + 24 * place for place, split in enumerate(labels)}
    spec = BackboneSpec.model_validate(
        {"name": "b", "model": "test_efficientnet", "weights": "none"}
    )
    backbone = load_backbone(spec, 32, None)
    how = (Recipe(label_smoothing=smoothing, batch_size=8), 12, "auroc", 0, CPU, None, "multilabel")
    tuning = FineTuning(
        Task(backbone, labels, LABELS, *how), Store.of(images.astype(np.uint8), "f"), rows,
        "full", Trial(0, {"learning_rate": 3e-3}), keep_best=True,
    )  # fmt: skip
    scores = [tuning.train_epoch()[0].metrics for _ in range(12)]
    assert scores[-1]["train/loss"] < scores[0]["train/loss"]
    assert max(score["val/auroc"] for score in scores) > 0.8
    found = tuning.probabilities("test")
    assert found.shape == (24, LABELS)
    assert found.sum(axis=1).std() > 0.05  # they are no shares of one


def test_the_temperature_of_labels_divides_their_logits() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 2)) * 2
    labels = (rng.random((4000, 2)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    sharp = 1 / (1 + np.exp(-3 * logits))
    temperature = fit_temperature(labels, sharp)
    assert temperature == pytest.approx(3, rel=0.1)
    expected = 1 / (1 + np.exp(-3 * logits / temperature))
    assert with_temperature(sharp, temperature, multilabel=True) == pytest.approx(
        expected, abs=1e-6
    )


def test_class_weights_of_several_labels_are_refused() -> None:
    entry = {"name": "d", "layout": "csv", "path": "t.csv", "multilabel": True}
    space = {"name": "s", "datasets": [entry], "backbones": ["lite0"]}
    for more in ({"recipe": {"class_weights": "balanced"}},
                 {"search": {"class_weights": ["none", "balanced"]}}):  # fmt: skip
        with pytest.raises(ValidationError, match="class_weights are for classes"):
            Space.model_validate({**space, **more})
