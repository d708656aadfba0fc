"""Heads that are fitted at once, against scikit-learn; class weights of every head."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor

from sweep.backbones.backbone import load_backbone
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train.class_weights import class_weights
from sweep.train.heads import HEADS
from sweep.train.lbfgs import minimise
from sweep.train.learner import Task, Trial

D = 64
SIZES = {"train": 400, "val": 100, "test": 100}


def data(classes: int, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return features of unlike scales, one of them constant, and labels of unlike frequencies."""
    rng = np.random.default_rng(seed)
    features, labels = {}, {}
    scales, offsets = rng.uniform(0.01, 10, D), rng.normal(size=D) * 5
    scales[3] = 0.0
    for split, count in SIZES.items():
        plain = rng.normal(size=(count, D))
        noisy = plain[:, :classes] + rng.normal(size=(count, classes)) - np.arange(classes) * 0.7
        labels[split] = torch.from_numpy(noisy.argmax(axis=1))
        features[split] = torch.from_numpy((plain * scales + offsets).astype(np.float32))
    return features, labels


def learner(head: str, classes: int, params: list[dict[str, Any]], **recipe: Any) -> Any:
    """Return a learner after its first epoch."""
    made = untrained(head, classes, params, **recipe)
    made.train_epoch()
    return made


def untrained(head: str, classes: int, params: list[dict[str, Any]], **recipe: Any) -> Any:
    backbone = load_backbone(
        BackboneSpec.model_validate({"name": "b", "model": "test_vit", "weights": "none"}),
        160,
        None,
    )
    features, labels = data(classes)
    task = Task(backbone, labels, classes, Recipe(**recipe), 1, "auroc", 0, torch.device("cpu"))
    trials = [Trial(number, item) for number, item in enumerate(params)]
    return HEADS[head](task, features, trials)


def probabilities(made: Any, split: str = "test") -> list[Any]:
    """Return the probabilities of each member, by its own network's head on raw features."""
    features, _ = data(made._task.classes)
    with torch.inference_mode():
        return list(made.logits(features[split]).double().softmax(dim=2).numpy())


@pytest.mark.parametrize("samples", [25, 400], ids=lambda count: f"{count} samples")
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_logistic_regression_is_scikit_learns(
    samples: int, classes: int, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "train", samples)
    strengths = [1e-5, 1e-3, 1e-1, 1.0, 10.0, 100.0, 1000.0]
    made = learner(
        "logistic_regression", classes, [{"C": c, "class_weights": weights} for c in strengths]
    )
    features, labels = data(classes)
    scaler = StandardScaler().fit(features["train"].double())
    how = None if weights == "none" else weights
    for found, strength in zip(probabilities(made), strengths, strict=True):
        theirs = ScikitLogisticRegression(
            C=strength, class_weight=how, tol=1e-10, max_iter=500, solver="newton-cholesky"
        )
        theirs.fit(scaler.transform(features["train"].double()), labels["train"])
        wanted = theirs.predict_proba(scaler.transform(features["test"].double()))
        # Few samples are separable: a weak penalty has a flat optimum.
        np.testing.assert_allclose(found, wanted, atol=5e-5 if samples > D else 5e-4)


def test_a_batch_of_problems_is_solved_as_each_alone() -> None:
    params = [{"C": 10.0**power} for power in range(-5, 3)]
    together = probabilities(learner("logistic_regression", 3, params))
    for own, found in zip(params, together, strict=True):
        (alone,) = probabilities(learner("logistic_regression", 3, [own]))
        np.testing.assert_allclose(found, alone, atol=1e-5)


def test_the_scaling_is_folded_into_the_head() -> None:
    made = learner("logistic_regression", 3, [{"C": 0.1}])
    features, _ = data(3)
    with torch.inference_mode():
        torch.testing.assert_close(
            made.head()(features["test"]).double(),
            made.logits(features["test"])[0],
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize(("neighbors", "temperature"), [(1, 0.1), (5, 0.07), (50, 1.0), (999, 0.2)])
def test_knn_is_scikit_learns_with_weights_of_similarity(
    neighbors: int, temperature: float
) -> None:
    made = learner("nearest_neighbors", 3, [{"n_neighbors": neighbors, "temperature": temperature}])
    features, labels = data(3)
    theirs = KNeighborsClassifier(
        n_neighbors=min(neighbors, SIZES["train"]),
        metric="cosine",
        algorithm="brute",
        weights=lambda distances: np.exp((1 - distances) / temperature),
    ).fit(features["train"].double(), labels["train"])
    wanted = theirs.predict_proba(features["test"].double())
    np.testing.assert_allclose(probabilities(made)[0], wanted, atol=1e-4)


def test_prototypes_are_the_class_means_of_centred_directions() -> None:
    made = learner("prototypes", 3, [{"temperature": 0.1}])
    features, labels = data(3)
    mean = features["train"].mean(dim=0)
    train, test = (normalize((features[s] - mean).double()) for s in ("train", "test"))
    means = np.stack([train[labels["train"] == c].mean(axis=0) for c in range(3)])
    wanted = torch.from_numpy(cosine_similarity(test, means) / 0.1).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities(made)[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("head", "params"),
    [
        ("logistic_regression", [{"C": 0.01}, {"C": 1.0}]),
        ("nearest_neighbors", [{"n_neighbors": n, "temperature": 0.1} for n in (5, 20)]),
        ("prototypes", [{"temperature": 0.1}, {"temperature": 1.0}]),
    ],
)
def test_a_restored_head_predicts_the_same(head: str, params: list[dict[str, Any]]) -> None:
    made, other = learner(head, 3, params), untrained(head, 3, params)
    other.restore(made.state())
    np.testing.assert_array_equal(made.probabilities("test"), other.probabilities("test"))
    made.drop([0])
    (alone,) = probabilities(learner(head, 3, params[1:]))
    np.testing.assert_allclose(made.probabilities("test"), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "params"),
    [
        ("logistic_regression", [{"C": 1e-4}, {"C": 1.0}]),
        ("nearest_neighbors", [{"n_neighbors": n, "temperature": 0.1} for n in (5, 20)]),
        ("prototypes", [{"temperature": 0.1}, {"temperature": 1.0}]),
    ],
)
def test_a_refitted_head_is_one_that_never_had_a_validation_split(
    head: str, params: list[dict[str, Any]]
) -> None:
    made = learner(head, 3, params)
    before = made.probabilities("test")
    made.drop([0])
    refitted = made.refitted()
    other = untrained(head, 3, params[1:])
    for of in (other._features, other._task.labels):
        of["train"] = torch.cat([of["train"], of["val"]])
    plain = type(other)(other._task, other._features, other._trials)
    plain.train_epoch()
    wanted = plain.probabilities("test")
    np.testing.assert_allclose(refitted.probabilities("test"), wanted, atol=1e-6)
    assert not np.allclose(before, wanted, atol=1e-3)


def test_a_nearest_neighbour_has_no_training_loss() -> None:
    made = untrained("nearest_neighbors", 3, [{"n_neighbors": 5, "temperature": 0.1}])
    (score,) = made.train_epoch()
    assert "val/loss" in score.metrics
    assert "train/loss" not in score.metrics


def test_neighbours_of_many_members_are_those_of_each_alone() -> None:
    params = [{"n_neighbors": n, "temperature": t} for n, t in ((50, 0.1), (1, 0.5), (999, 0.07))]
    together = probabilities(learner("nearest_neighbors", 3, params))
    for own, found in zip(params, together, strict=True):
        (alone,) = probabilities(learner("nearest_neighbors", 3, [own]))
        np.testing.assert_allclose(found, alone, atol=1e-6)


def test_the_network_of_a_head_gives_its_logits() -> None:
    made = learner("nearest_neighbors", 3, [{"n_neighbors": 5, "temperature": 0.1}])
    head = made.network().head
    features, _ = data(3)
    with torch.inference_mode():
        assert torch.equal(head(features["val"]), made.logits(features["val"])[0])


def test_balanced_weights_are_scikit_learns() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    found = class_weights(labels, 3, "balanced")
    assert found.tolist() == pytest.approx([6 / 9, 6 / 3, 6 / 6])
    assert float(found[labels].mean()) == pytest.approx(1)


def test_a_member_with_class_weights_learns_what_it_would_alone() -> None:
    rate = {"learning_rate": 0.01}
    params = [{**rate, "class_weights": "none"}, {**rate, "class_weights": "balanced"}]
    together = learner("linear", 3, params).weights()
    for place, own in enumerate(params):
        alone = learner("linear", 3, [own]).weights()[:, 0]
        torch.testing.assert_close(together[:, place], alone)
    assert not torch.allclose(together[:, 0], together[:, 1])


def test_class_weights_of_the_recipe_are_those_of_a_member() -> None:
    searched = learner("linear", 3, [{"learning_rate": 0.01, "class_weights": "balanced"}])
    fixed = learner("linear", 3, [{"learning_rate": 0.01}], class_weights="balanced")
    assert torch.equal(searched.weights(), fixed.weights())


def test_problems_that_are_unlike_end_each_at_its_own_minimum() -> None:
    scales_KP = torch.tensor([[1.0, 1.0], [1.0, 1e4], [1e-3, 1e3]], dtype=torch.float64)
    optima_KP = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [4.0, 0.0]], dtype=torch.float64)

    def objective(x_KP: Tensor, which_K: Tensor) -> tuple[Tensor, Tensor]:
        away_KP, own_KP = x_KP - optima_KP[which_K], scales_KP[which_K]
        return 0.5 * (own_KP * away_KP**2).sum(dim=1), own_KP * away_KP

    found = minimise(objective, torch.zeros(3, 2, dtype=torch.float64), tolerance=1e-7)
    torch.testing.assert_close(found.parameters_KP, optima_KP, atol=1e-5, rtol=0)
