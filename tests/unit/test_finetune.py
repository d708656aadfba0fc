import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sweep.backbones.backbone import load_backbone
from sweep.backbones.trainable import freeze, set_training
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train.features import normalise, trunk_outputs
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial
from sweep.train.losses.base import loss_of
from sweep.train.probe_start import probe_head
from sweep.train.schedule import BETAS, epoch_batches, halving_memory

SIZE, COUNT = 32, 60
BACKBONE = load_backbone(
    BackboneSpec(name="b", model="test_efficientnet", weights="none"), SIZE, None
)
CPU = torch.device("cpu")


def made_up_store() -> Store:
    """Noisy images; those with an odd number are brighter."""
    noise = np.random.default_rng(0).integers(0, 120, (COUNT, SIZE, SIZE, 3))
    pixels = (noise + 60 * (np.arange(COUNT) % 2)[:, None, None, None]).astype(np.uint8)
    return Store.of(pixels, "made up")


def learner(
    mode: str = "full", keep_best: bool = True, seed: int = 3, **recipe: object
) -> FineTuning:
    rows = {"train": np.arange(0, 37), "val": np.arange(37, 50), "test": np.arange(50, 60)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    of_backbone = recipe.pop("backbone_rate", None)
    trial = Trial(0, {"learning_rate": 1e-3, "backbone_learning_rate": of_backbone})
    made = Recipe.model_validate({"batch_size": 8, **recipe})
    task = Task(BACKBONE, labels, 2, made, 4, "auroc", seed, CPU)
    return FineTuning(task, made_up_store(), rows, mode, trial, keep_best)


def train(tuning: FineTuning, epochs: int) -> FineTuning:
    for _ in range(epochs):
        tuning.train_epoch()
    return tuning


def weights(tuning: FineTuning) -> dict[str, torch.Tensor]:
    return tuning.state()["network"]


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_one_seed_gives_one_result_to_the_bit() -> None:
    assert_same(weights(train(learner(), 2)), weights(train(learner(), 2)))
    first = weights(train(learner(), 1))["head.weight"]
    assert not torch.equal(first, weights(train(learner(seed=4), 1))["head.weight"])


@pytest.mark.parametrize("mode", ["full", "last:1", "norm", "bias"])
def test_it_takes_the_steps_of_a_plain_training_loop(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With Adam's usual epsilon a gradient that is 0 but for rounding makes a whole step.
    epsilon = 1e-3
    monkeypatch.setattr("sweep.train.optimizer.EPSILON", epsilon)
    network = BACKBONE.network(2, 3).to(memory_format=torch.channels_last)
    freeze(network, mode)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-3, betas=BETAS, eps=epsilon, fused=True)
    images, labels = torch.from_numpy(made_up_store().rows(np.arange(37))), torch.arange(37) % 2
    for epoch in (1, 2):
        set_training(network)
        for batch in epoch_batches(37, 8, 3, epoch):
            inputs = normalise(images[batch], BACKBONE.preprocessing)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels[batch]).backward()
            optimizer.step()
    found = weights(train(learner(mode), 2))
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_training_restored_from_its_state_goes_on_as_if_nothing_had_happened() -> None:
    for augment in ("none", "light"):
        whole, broken = train(learner(augment=augment), 4), train(learner(augment=augment), 2)
        resumed = learner(augment=augment)
        resumed.restore(broken.state())
        train(resumed, 2)
        assert_same(weights(resumed), weights(whole))
        assert np.array_equal(resumed.probabilities("test"), whole.probabilities("test"))


@pytest.mark.parametrize("mode", ["full", "last:1"])
def test_its_memory_is_free_as_soon_as_nobody_has_it(mode: str) -> None:
    gc.collect()
    gc.disable()
    try:
        tuning = train(learner(mode), 2)
        network = weakref.ref(tuning._network)
        del tuning
        assert network() is None
    finally:
        gc.enable()


def test_predictions_are_those_of_the_best_epoch() -> None:
    tuning = learner()
    seen = {}
    for _ in range(4):
        (score,) = tuning.train_epoch()
        with torch.inference_mode():
            network = tuning.network() if score.epoch == tuning.best[0].epoch else None
            if network is not None:
                images = torch.from_numpy(made_up_store().rows(np.arange(50, 60)))
                logits = network.eval()(normalise(images, BACKBONE.preprocessing))
                seen[score.epoch] = logits.double().softmax(1).numpy()
    assert tuning.probabilities("test") == pytest.approx(seen[tuning.best[0].epoch], abs=1e-6)


def test_the_backbone_may_have_a_rate_of_its_own() -> None:
    before = BACKBONE.network(2, 3).state_dict()
    slow = weights(train(learner(backbone_rate=1e-9), 1))
    name = next(n for n, p in BACKBONE.network(2, 3).named_parameters() if p.ndim == 4)
    assert (slow[name] - before[name]).abs().max() < 1e-6
    assert (slow["head.weight"] - before["head.weight"]).abs().max() > 1e-4


def test_smaller_pieces_of_a_batch_give_the_same_step_where_no_layer_mixes_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Out of memory: half the micro-batch, accumulate, the same gradient."""
    whole = weights(train(learner("bias"), 1))
    loss = loss_of("cross_entropy")
    forward = loss.mean

    def hungry(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(logits) > 2:
            raise torch.OutOfMemoryError("made up")
        return forward(logits, labels)

    monkeypatch.setattr(loss, "mean", hungry)
    tuning = learner("bias")
    (score,) = tuning.train_epoch()
    assert tuning.micro_batch == 2
    assert not score.diverged
    for name, tensor in weights(tuning).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-5)


def test_halving_ends_where_one_sample_does_not_fit() -> None:
    sizes = []

    def run(size: int) -> None:
        sizes.append(size)
        raise torch.OutOfMemoryError("made up")

    with pytest.raises(torch.OutOfMemoryError):
        halving_memory(8, run)
    assert sizes == [8, 4, 2, 1]


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged() -> None:
    tuning = learner(optimizer="sgd")
    with torch.no_grad():
        tuning._network.head.weight.fill_(float("nan"))
    (score,) = tuning.train_epoch()
    assert score.diverged
    assert tuning.active == []


def test_batches_cover_every_sample_once_and_none_is_of_one() -> None:
    for count in (1, 8, 9, 16, 17):
        batches = epoch_batches(count, 8, 0, 1)
        assert sorted(torch.cat(batches).tolist()) == list(range(count))
        assert count == 1 or all(len(batch) > 1 for batch in batches)


def test_it_begins_with_the_head_that_it_is_given() -> None:
    tuning = learner("lp-ft")
    rows = {name: tuning._rows[name] for name in ("train", "val", "test")}
    images = tuning._images._store
    features = {
        name: trunk_outputs(BACKBONE.trunk, images.rows(own), BACKBONE.preprocessing, CPU)
        for name, own in rows.items()
    }
    head = probe_head(tuning._task, features)
    tuning.begin_with(head)
    wanted = head(features["val"]).double().softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(
        tuning._logits("val").double().softmax(dim=1).numpy(), wanted, atol=1e-5
    )


def test_class_weights_scale_the_loss_of_each_sample() -> None:
    plain, balanced = learner(), learner(class_weights="balanced")
    logits, labels = torch.randn(8, 2), torch.tensor([0, 1] * 4)
    counts = torch.bincount(plain._labels["train"])
    weight = (counts.sum() / (2 * counts))[labels]
    each = nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(plain._mean_loss(logits, labels), each.mean())
    torch.testing.assert_close(balanced._mean_loss(logits, labels), (each * weight).mean())


class ReadsOfTheHost(TorchDispatchMode):
    """Counts how often a number is read from its device, for which the device is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(kwargs or {}))


@pytest.mark.parametrize("mode", ["full", "lora:2"])
def test_no_step_waits_for_the_device_but_an_epoch_once(mode: str) -> None:
    counts = []
    for batch_size in (8, 16):
        tuning = learner(mode, batch_size=batch_size, augment="light")
        tuning.epoch = 1
        with ReadsOfTheHost() as reads:
            tuning.train_only()
        counts.append(reads.count)
    assert counts == [1, 1]
