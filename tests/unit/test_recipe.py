"""The recipe: presets, what they mean for frozen cells, and each part against its reference."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from timm.layers import DropPath
from torch import nn

from sweep.backbones.backbone import load_backbone
from sweep.backbones.trainable import freeze
from sweep.data.store.image_store import Store
from sweep.errors import SpaceError
from sweep.space.backbone import BackboneSpec
from sweep.space.file import load_space
from sweep.space.model import Space
from sweep.space.recipe import Recipe
from sweep.train.calibration import fit_temperature, with_temperature
from sweep.train.features import normalise
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial
from sweep.train.losses.base import loss_of
from sweep.train.optimizer import optimizer_of
from sweep.train.schedule import RateSchedule, epoch_batches

SPACE = """name: s
datasets: [digits, ham10000]
backbones: [{name: b, model: test_vit, weights: none}]
freeze: [frozen, full]
"""
SIZE, COUNT, EPOCHS = 160, 16, 2
CPU = torch.device("cpu")


def space(tmp_path: Path, text: str = "") -> Space:
    (tmp_path / "space.yaml").write_text(SPACE + text)
    return load_space(str(tmp_path / "space.yaml"))


def backbone(model: str = "test_vit") -> Any:
    return load_backbone(BackboneSpec(name="b", model=model, weights="none"), SIZE, None)


def tuning(model: str = "test_vit", mode: str = "full", **recipe: Any) -> FineTuning:
    rows = {"train": np.arange(0, 10), "val": np.arange(10, 14), "test": np.arange(14, 16)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    pixels = np.random.default_rng(0).integers(0, 255, (COUNT, SIZE, SIZE, 3), np.uint8)
    made = Recipe.model_validate({"batch_size": 4, **recipe})
    task = Task(backbone(model), labels, 2, made, EPOCHS, "auroc", 0, CPU)
    trial = Trial(0, {"learning_rate": 1e-3})
    return FineTuning(task, Store.of(pixels, "made up"), rows, mode, trial, keep_best=True)


def test_a_space_that_names_no_preset_is_modern_and_its_keys_come_first(tmp_path: Path) -> None:
    recipe = space(tmp_path, "recipe: {schedule: constant, frozen: {optimizer: sgd}}").recipe
    assert (recipe.preset, recipe.schedule, recipe.layer_decay) == ("modern", "constant", 0.75)
    assert recipe.for_frozen().optimizer == "sgd"


def test_study_is_the_recipe_of_the_study(tmp_path: Path) -> None:
    assert space(tmp_path, "recipe: {preset: study}").recipe == Recipe()


def test_a_sweep_from_before_presets_keeps_its_recipe(tmp_path: Path) -> None:
    document = space(tmp_path, "recipe: {preset: study, optimizer: sgd}").model_dump(mode="json")
    for key in ("preset", "standardize", "calibration", "ema_decay", "frozen"):
        del document["recipe"][key]
    assert Space.launched(document).recipe == Recipe(optimizer="sgd")


def test_a_launched_space_is_read_as_it_was(tmp_path: Path) -> None:
    made = space(tmp_path, "recipe: {weight_decay: 0.1, frozen: {schedule: constant}}")
    assert Space.launched(made.model_dump(mode="json")) == made


def test_frozen_cells_have_nothing_of_what_only_trunks_have(tmp_path: Path) -> None:
    made = space(tmp_path)
    recipe = made.recipe_of(made.cells()[0])
    assert (recipe.calibration, recipe.schedule) == ("temperature", "cosine_by_step")
    off = {recipe.label_smoothing, recipe.ema_decay, recipe.drop_path_rate, recipe.max_grad_norm}
    assert off == {0.0}
    assert recipe.augment == "none"


def test_a_key_of_the_file_is_for_frozen_cells_too_unless_they_have_their_own(
    tmp_path: Path,
) -> None:
    recipe = space(tmp_path, "recipe: {weight_decay: 0.3}").recipe
    assert recipe.for_frozen().weight_decay == 0.3
    recipe = space(tmp_path, "recipe: {weight_decay: 0.3, frozen: {weight_decay: 0.1}}").recipe
    assert (recipe.weight_decay, recipe.for_frozen().weight_decay) == (0.3, 0.1)


def test_augmentation_is_by_the_kind_of_images_and_mirrors_nothing_that_is_not_known(
    tmp_path: Path,
) -> None:
    made = space(tmp_path)
    found = {c.dataset.name: made.recipe_of(c).augment for c in made.cells() if not c.fused}
    assert found == {"digits": "no_flip", "ham10000": "dermoscopy"}


def test_an_augmentation_that_is_searched_may_be_that_of_the_kind_of_images(tmp_path: Path) -> None:
    made = space(tmp_path, "search: {augment: [none, auto]}")
    cell = next(c for c in made.cells() if c.name == "ham10000/b/full")
    found = [made.recipe_of(cell, {"augment": name}).augment for name in ("none", "auto")]
    assert found == ["none", "dermoscopy"]


def test_random_weights_have_no_layer_decay_unless_it_is_searched(tmp_path: Path) -> None:
    made = space(tmp_path)
    cell = next(c for c in made.cells() if not c.fused)
    assert made.recipe_of(cell).layer_decay == 1.0
    assert made.recipe_of(cell, {"layer_decay": 0.7}).layer_decay == 0.7


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("{preset: studie}", "'studie' is not allowed.*did you mean study"),
        ("{frozen: {layer_decay: 0.5}}", "recipe.frozen.layer_decay: unknown key"),
        ("{warmup_ratio: 1}", "recipe.warmup_ratio: .*less than 1"),
        ("{layer_decay: 0}", "recipe.layer_decay: .*greater than 0"),
        ("{augment: xrays}", "recipe.augment.*'xrays' is not allowed.*did you mean xray"),
    ],
)
def test_what_a_recipe_cannot_be_is_refused_in_words(
    tmp_path: Path, recipe: str, words: str
) -> None:
    with pytest.raises(SpaceError, match=words):
        space(tmp_path, f"recipe: {recipe}")


def test_every_wrong_domain_of_search_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as found:
        space(tmp_path, "search: {layer_decay: [3], C: [0], augment: {low: 1, high: 2}}")
    assert all(f"{key}: " in str(found.value) for key in ("layer_decay", "C", "augment"))


def test_the_rate_rises_then_falls_to_nearly_0_with_every_step() -> None:
    recipe = Recipe(schedule="cosine_by_step", warmup_ratio=0.2)
    schedule = RateSchedule(recipe, epochs=5, steps=10)
    found = [schedule.factor(1 + i // 10, i % 10) for i in range(50)]
    assert np.argmax(found) == 10
    assert found[10] == 1.0
    assert np.all(np.diff(found[:11]) > 0)
    assert np.all(np.diff(found[10:]) < 0)
    assert 0 < found[-1] < 0.01


def test_each_layer_has_a_rate_below_that_of_the_next_and_only_matrices_decay() -> None:
    network = backbone().network(2, 0)
    freeze(network, "full")
    recipe = Recipe(layer_decay=0.5, weight_decay=0.1, weight_decay_on="matrices")
    optimizer = optimizer_of(network, Trial(0, {"learning_rate": 1.0}), recipe)
    names = {id(p): name for name, p in network.named_parameters()}
    of = {names[id(p)]: g for g in optimizer.param_groups for p in g["params"]}
    assert set(of) == set(names.values())
    depth = len(network.trunk.blocks)
    rates = [of[f"trunk.blocks.{i}.mlp.fc1.weight"]["lr"] for i in range(depth)]
    assert rates == pytest.approx([0.5 ** (12 / depth * (depth - 1 - i)) for i in range(depth)])
    assert of["trunk.patch_embed.proj.weight"]["lr"] == pytest.approx(0.5**12)
    assert of["head.weight"]["lr"] == 1.0
    decaying = {name for name, group in of.items() if group["weight_decay"]}
    parameters = dict(network.named_parameters())
    assert all(parameters[name].ndim > 1 for name in decaying)
    assert not {"trunk.cls_token", "trunk.pos_embed", "head.bias"} & decaying
    assert "head.weight" in decaying


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit", "vgg11"])
@pytest.mark.parametrize("mode", ["full", "last:1", "norm", "lora:2", "bias"])
def test_layer_decay_reaches_every_parameter_of_every_mode(model: str, mode: str) -> None:
    if (model, mode) == ("vgg11", "norm"):
        pytest.skip("VGG has no norm")
    spec = BackboneSpec(name="b", model=model, weights="none")
    network = load_backbone(spec, 64 if model == "vgg11" else SIZE, None).network(2, 0)
    freeze(network, mode)
    optimizer = optimizer_of(network, Trial(0, {"learning_rate": 1.0}), Recipe(layer_decay=0.5))
    found = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert found == {id(p) for p in network.parameters() if p.requires_grad}


def test_label_smoothing_is_torchs() -> None:
    logits, labels = torch.randn(9, 4), torch.randint(0, 4, (9,))
    found = loss_of("cross_entropy").smoothed(logits, labels, 0.1)
    wanted = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(found, wanted)


def test_steps_are_those_of_a_plain_loop_with_clipping_smoothing_and_an_average() -> None:
    how = {
        "optimizer": "adamw", "schedule": "cosine_by_step", "warmup_ratio": 0.3, "ema_decay": 0.5,
        "max_grad_norm": 0.1, "label_smoothing": 0.1,
    }  # fmt: skip
    made = tuning(**how)
    network = copy.deepcopy(made._network)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    schedule = RateSchedule(Recipe(**{k: how[k] for k in ("schedule", "warmup_ratio")}), EPOCHS, 3)
    images, labels = made._images, torch.arange(10) % 2
    step = 0
    for epoch in (1, 2):
        network.train()
        batches = epoch_batches(10, 4, 0, epoch)
        for index, batch in enumerate(batches):
            optimizer.param_groups[0]["lr"] = 1e-3 * schedule.factor(epoch, index)
            (pixels,) = images.batches([batch.numpy()])
            optimizer.zero_grad()
            logits = network(normalise(pixels, backbone().preprocessing))
            nn.functional.cross_entropy(logits, labels[batch], label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            optimizer.step()
            step += 1
            decay = min(0.5, 1 - (1 + max(0, step - 1)) ** (-2 / 3)) if step > 1 else 0.0
            with torch.no_grad():
                for own, new in zip(average.parameters(), network.parameters(), strict=True):
                    own.lerp_(new, 1 - decay)
        made.train_epoch()
    for own, wanted in zip(made._network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-6)
    assert made._average is not None
    for own, wanted in zip(made._average.module.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-6)


def test_the_averaged_network_is_what_predicts_and_is_kept() -> None:
    made = tuning(ema_decay=0.9)
    made.train_epoch()
    assert made.network() is made._average.module  # type: ignore[union-attr]
    before = made.probabilities("test")
    made._network.head.weight.data.add_(100.0)
    np.testing.assert_array_equal(made.probabilities("test"), before)


@pytest.mark.parametrize("mode", ["full", "lora:2", "last:1"])
def test_a_modern_training_goes_on_from_its_state_to_the_bit(mode: str) -> None:
    whole, broken, resumed = (tuning(mode=mode, preset="modern", augment="none") for _ in range(3))
    for made, epochs in ((whole, 2), (broken, 1)):
        for _ in range(epochs):
            made.train_epoch()
    resumed.restore(broken.state())
    resumed.train_epoch()
    np.testing.assert_array_equal(resumed.probabilities("test"), whole.probabilities("test"))


def test_stochastic_depth_is_there_with_the_same_weights_where_a_model_has_it() -> None:
    plain, deep = backbone().network(2, 0), backbone().network(2, 0, drop_path_rate=0.2)
    assert any(isinstance(module, DropPath) for module in deep.modules())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(deep.state_dict()[name], tensor)
    with torch.inference_mode():
        images = torch.randn(2, 3, SIZE, SIZE)
        assert torch.equal(plain.eval()(images), deep.eval()(images))
    spec = BackboneSpec(name="b", model="vgg11", weights="none")
    assert load_backbone(spec, 64, None).network(2, 0, drop_path_rate=0.2) is not None


def test_a_temperature_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(40_000, 5)), np.zeros(40_000, int)
    labels = (inputs[:, :3] + rng.gumbel(size=(40_000, 3))).argmax(axis=1)
    model = LogisticRegression().fit(inputs[:200], labels[:200])
    model.coef_ = model.coef_ * 4  # too sure
    val, test = slice(200, 30_000), slice(30_000, None)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    theirs.fit(inputs[val], labels[val])
    found = fit_temperature(labels[val], model.predict_proba(inputs[val]))
    assert found > 2
    np.testing.assert_allclose(
        with_temperature(model.predict_proba(inputs[test]), found),
        theirs.predict_proba(inputs[test]),
        atol=2e-3,
    )


def test_samples_that_are_all_told_apart_do_not_ask_for_certainty() -> None:
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]] * 10)
    scaled = with_temperature(probabilities, fit_temperature(np.array([0, 1] * 10), probabilities))
    assert 0.9 < scaled.max() < 10.5 / 11


def test_few_samples_leave_a_temperature_near_1() -> None:
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6]])
    few = fit_temperature(np.array([0, 1]), probabilities)
    many = fit_temperature(np.array([0, 1] * 200), np.tile(probabilities, (200, 1)))
    assert many < few < 1


def test_a_temperature_divides_logits_that_are_far_apart() -> None:
    logits = np.array([[200.0, 0.0, -150.0]])
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    wanted = torch.from_numpy(logits / 50).softmax(1).numpy()
    np.testing.assert_allclose(with_temperature(probabilities, 50.0), wanted, rtol=1e-9)
