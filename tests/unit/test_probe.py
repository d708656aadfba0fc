"""A member of a wave equals the same head trained alone, whatever happens to the others."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from sweep.backbones.backbone import initial_head, load_backbone
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train import probe
from sweep.train.learner import Task, Trial
from sweep.train.probe import BatchedLinearProbe
from sweep.train.schedule import BETAS, EPSILON, MOMENTUM, RateSchedule, epoch_batches

RATES = [1e-4, 1e-3, 1e-2]
EPOCHS, CLASSES, SEED = 6, 3, 4
BACKBONE = load_backbone(BackboneSpec(name="b", model="test_resnet", weights="none"), 32, None)


def made_up() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Features of three overlapping classes."""
    generator = torch.Generator().manual_seed(0)
    labels = {s: torch.arange(n) % CLASSES for s, n in (("train", 97), ("val", 40), ("test", 30))}
    centres = torch.randn(CLASSES, BACKBONE.features, generator=generator)
    features = {
        s: centres[own] + 2 * torch.randn(len(own), BACKBONE.features, generator=generator)
        for s, own in labels.items()
    }
    return features, labels


def wave(rates: list[float], recipe: Recipe | None = None, first: int = 0) -> BatchedLinearProbe:
    members = [Trial(first + number, {"learning_rate": rate}) for number, rate in enumerate(rates)]
    return wave_of(members, recipe)


def wave_of(members: list[Trial], recipe: Recipe | None = None) -> BatchedLinearProbe:
    features, labels = made_up()
    how = (recipe or Recipe(), EPOCHS, "auroc", SEED, torch.device("cpu"))
    return BatchedLinearProbe(Task(BACKBONE, labels, CLASSES, *how), features, members)


def test_a_refitted_probe_takes_the_steps_of_its_best_epoch_on_both_splits() -> None:
    recipe, rate, best = Recipe(optimizer="adamw", standardize=True), 0.3, 4
    made = train(wave([1e-4, rate], recipe))
    made.drop([0])
    made.best[1].epoch = best
    refitted = made.refitted()
    features, labels = made_up()
    for of in (features, labels):
        of["train"] = torch.cat([of["train"], of["val"]])
    task = Task(BACKBONE, labels, CLASSES, recipe, EPOCHS, "auroc", SEED, torch.device("cpu"))
    plain = BatchedLinearProbe(task, features, [Trial(1, {"learning_rate": rate})])
    with torch.inference_mode():
        for epoch in range(1, best + 1):
            plain.train_only(epoch)
    kept = refitted.network().head(features["test"]).double().softmax(1)
    np.testing.assert_allclose(refitted.probabilities("test"), kept.detach(), atol=1e-5)
    assert torch.equal(refitted.weights(), plain.weights())
    assert refitted.best[1].epoch == best


def train(learner: BatchedLinearProbe, epochs: int = EPOCHS) -> BatchedLinearProbe:
    for _ in range(epochs):
        learner.train_epoch()
    return learner


def plain_pytorch(rate: float, recipe: Recipe) -> torch.Tensor:
    """Train one head with an optimizer of torch's own; return its weights (D+1, C)."""
    features, labels = made_up()
    head = torch.nn.Linear(BACKBONE.features, CLASSES)
    with torch.no_grad():
        head.weight.copy_(initial_head(CLASSES, BACKBONE.features, SEED))
        head.bias.zero_()
    options = {"lr": rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(head.parameters(), momentum=MOMENTUM, **options)
    else:
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(head.parameters(), betas=BETAS, eps=EPSILON, **options)
    for epoch in range(1, EPOCHS + 1):
        optimizer.param_groups[0]["lr"] = rate * RateSchedule(recipe, EPOCHS, 1).factor(epoch, 0)
        for batch in epoch_batches(len(labels["train"]), recipe.batch_size, SEED, epoch):
            optimizer.zero_grad()
            logits = head(features["train"][batch])
            torch.nn.functional.cross_entropy(logits, labels["train"][batch]).backward()
            optimizer.step()
    return torch.cat([head.weight.detach().T, head.bias.detach()[None]])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_members_get_the_weights_that_plain_pytorch_gives(
    optimizer: str, schedule: str, decay: float
) -> None:
    recipe = Recipe.model_validate(
        {"optimizer": optimizer, "schedule": schedule, "weight_decay": decay, "batch_size": 16}
    )
    together = train(wave(RATES, recipe)).weights()
    for member, rate in enumerate(RATES):
        alone = plain_pytorch(rate, recipe)
        torch.testing.assert_close(together[:, member], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_members_with_weight_decays_of_their_own_are_what_they_are_alone(optimizer: str) -> None:
    recipe = Recipe.model_validate({"optimizer": optimizer, "batch_size": 16})
    chosen = [(1e-3, 0.0), (1e-2, 1e-3), (1e-2, 0.3)]
    members = [
        Trial(number, {"learning_rate": rate, "weight_decay": decay})
        for number, (rate, decay) in enumerate(chosen)
    ]
    together = train(wave_of(members, recipe)).weights()
    for member, (rate, decay) in enumerate(chosen):
        alone = plain_pytorch(rate, recipe.model_copy(update={"weight_decay": decay}))
        torch.testing.assert_close(together[:, member], alone, rtol=1e-5, atol=1e-6)


def test_a_dropped_member_takes_its_weight_decay_along() -> None:
    members = [Trial(n, {"learning_rate": 1e-2, "weight_decay": 10.0**-n}) for n in range(3)]
    whole, thinned = train(wave_of(members)), train(wave_of(members), 2)
    thinned.drop([1])
    train(thinned, EPOCHS - 2)
    torch.testing.assert_close(thinned.weights(), whole.weights()[:, [0, 2]], rtol=1e-5, atol=1e-6)


def test_a_member_is_the_same_with_and_without_company() -> None:
    together, alone = train(wave(RATES)), train(wave([RATES[1]], first=1))
    torch.testing.assert_close(together.weights()[:, 1:2], alone.weights(), rtol=1e-5, atol=1e-6)
    assert together.best[1].epoch == alone.best[1].epoch
    assert together.best[1].value == pytest.approx(alone.best[1].value, abs=1e-9)


def test_dropping_members_leaves_the_others_as_they_were() -> None:
    whole, thinned = train(wave(RATES)), train(wave(RATES), 2)
    thinned.drop([0])
    assert thinned.active == [1, 2]
    train(thinned, EPOCHS - 2)
    torch.testing.assert_close(thinned.weights(), whole.weights()[:, 1:], rtol=1e-5, atol=1e-6)


def test_a_wave_restored_from_its_state_goes_on_as_if_nothing_had_happened() -> None:
    whole, broken = train(wave(RATES)), train(wave(RATES), 3)
    resumed = wave(RATES)
    resumed.restore(broken.state())
    train(resumed, EPOCHS - 3)
    assert torch.equal(resumed.weights(), whole.weights())
    assert vars(resumed.best[2]) == vars(whole.best[2])
    assert np.array_equal(resumed.probabilities("test"), whole.probabilities("test"))


def test_a_restored_wave_may_have_lost_members() -> None:
    state = train(wave(RATES), 3).state()
    resumed = wave(RATES[1:], first=1)
    resumed.restore(state)
    train(resumed, EPOCHS - 3)
    torch.testing.assert_close(
        resumed.weights(), train(wave(RATES)).weights()[:, 1:], rtol=1e-5, atol=1e-6
    )


def test_a_diverging_member_ends_alone() -> None:
    learner = wave([1e-3, 1e38], Recipe(optimizer="sgd"))
    scores = [score for _ in range(EPOCHS) for score in learner.train_epoch()]
    assert [score.number for score in scores if score.diverged] == [1]
    assert learner.active == [0]
    torch.testing.assert_close(
        learner.weights(), train(wave([1e-3], Recipe(optimizer="sgd"))).weights()
    )


def test_the_network_predicts_what_the_probe_predicted() -> None:
    learner = train(wave([1e-2]))
    features, _ = made_up()
    with torch.inference_mode():
        logits = learner.network().head(features["test"]).double()
    assert learner.probabilities("test") == pytest.approx(logits.softmax(1).numpy(), abs=1e-6)


def test_every_epoch_reports_loss_and_all_validation_metrics() -> None:
    (score,) = wave([1e-2]).train_epoch()
    assert {"train/loss", "val/loss", "val/auroc", "val/accuracy", "val/f1"} <= set(score.metrics)


def test_standardised_features_give_what_standardising_them_first_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        probe, "initial_head", lambda classes, features, _: torch.zeros(classes, features)
    )
    features, labels = made_up()
    scaler = StandardScaler().fit(features["train"].double())
    scaled = {s: torch.from_numpy(scaler.transform(own)).float() for s, own in features.items()}
    how = (EPOCHS, "auroc", SEED, torch.device("cpu"))
    members = [Trial(number, {"learning_rate": rate}) for number, rate in enumerate(RATES)]
    inside = Task(BACKBONE, labels, CLASSES, Recipe(standardize=True), *how)
    outside = Task(BACKBONE, labels, CLASSES, Recipe(), *how)
    found = train(BatchedLinearProbe(inside, features, members))
    wanted = train(BatchedLinearProbe(outside, scaled, members))
    torch.testing.assert_close(found.weights(), wanted.weights(), rtol=1e-3, atol=1e-5)
    found.drop([0, 2])
    with torch.inference_mode():
        logits = found.network().head(features["test"]).double()
    np.testing.assert_allclose(logits.softmax(1), found.probabilities("test"), atol=1e-5)
