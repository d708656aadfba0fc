"""Features that are searched: one pass of the trunk, each head on its own part of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweep.backbones.backbone import load_backbone
from sweep.backbones.tokens import columns, widest
from sweep.errors import SpaceError, SweepError
from sweep.run.plan import plan_cells
from sweep.search.domains import domains_of
from sweep.space.backbone import BackboneSpec
from sweep.space.file import load_space
from sweep.space.model import Space
from sweep.space.recipe import Recipe
from sweep.train.feature_search import backbone_of, heads_on
from sweep.train.heads import HEADS
from sweep.train.learner import Task, Trial

SIZE = 160
NAMES = ("cls", "mean", "cls+mean", "last4", "last4+mean")
SPACE = """name: s
datasets: [digits]
backbones:
  - {name: vit, model: test_vit, weights: none}
  - {name: cnn, model: test_resnet, weights: none}
  - {name: fixed, model: test_vit, weights: none, features: mean}
freeze: [frozen, full]
image_size: 160
"""


def backbone(features: str) -> Any:
    entry = {"name": "b", "model": "test_vit", "weights": "none", "features": features}
    return load_backbone(BackboneSpec.model_validate(entry), SIZE, None)


def space(tmp_path: Path, text: str) -> Space:
    (tmp_path / "space.yaml").write_text(SPACE + text)
    return load_space(str(tmp_path / "space.yaml"))


def outputs(features: str) -> torch.Tensor:
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return backbone(features).trunk(images)


@pytest.mark.parametrize("of_all", NAMES)
def test_features_lie_among_those_of_which_they_are_parts(of_all: str) -> None:
    found = outputs(of_all)
    for name in NAMES:
        if widest([of_all, name]) == of_all:
            own = found[:, columns(of_all, name, found.shape[1])]
            assert torch.equal(own, outputs(name))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["cls"], "cls"),
        (["cls", "mean"], "cls+mean"),
        (["mean", "last4"], "last4+mean"),
        (["pool"], "pool"),
    ],
)
def test_the_widest_features_hold_all_that_are_asked_for(names: list[str], wanted: str) -> None:
    assert widest(names) == wanted


def made_up(count: int = 60) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    width = backbone("last4+mean").features
    labels = {split: torch.arange(count) % 2 for split in ("train", "val", "test")}
    features = {s: torch.randn(count, width, generator=generator) + own[:, None] * 0.1
                for s, own in labels.items()}  # fmt: skip
    return features, labels


def learner(head: str, trials: list[Trial]) -> Any:
    features, labels = made_up()
    how = (Recipe(), 3, "auroc", 0, torch.device("cpu"))
    task = Task(backbone("last4+mean"), labels, 2, *how)
    return heads_on(task, features, trials, HEADS[head])


PARAMS: dict[str, dict[str, Any]] = {
    "linear": {"learning_rate": 1e-2},
    "logistic_regression": {"C": 0.01},
    "nearest_neighbors": {"n_neighbors": 5, "temperature": 0.1},
    "prototypes": {"temperature": 0.1},
}


@pytest.mark.parametrize("head", PARAMS)
def test_each_head_is_what_it_is_alone_on_its_features(head: str) -> None:
    trials = [
        Trial(n, {**PARAMS[head], "features": name})
        for n, name in enumerate(("mean", "cls", "mean", "last4"))
    ]
    together = learner(head, trials)
    epochs = 3 if head == "linear" else 1
    scores = [together.train_epoch() for _ in range(epochs)]
    assert [score.number for score in scores[-1]] == [0, 1, 2, 3]
    features, labels = made_up()
    for trial in trials:
        name = str(trial.params["features"])
        own = {s: f[:, columns("last4+mean", name, f.shape[1])] for s, f in features.items()}
        how = (Recipe(), 3, "auroc", 0, torch.device("cpu"))
        alone = HEADS[head](Task(backbone(name), labels, 2, *how), own, [trial])
        for _ in range(epochs):
            alone.train_epoch()
        assert alone.best[trial.number].value == together.best[trial.number].value
        kept = learner(head, trials)
        kept.restore(together.state())
        kept.drop([number for number in kept.active if number != trial.number])
        np.testing.assert_allclose(
            kept.probabilities("test"), alone.probabilities("test"), atol=1e-6
        )
        assert kept.backbone.spec.features == name


def test_the_network_of_a_member_gives_its_features_below_its_head() -> None:
    trials = [Trial(n, {"C": 1.0, "features": name}) for n, name in enumerate(("mean", "last4"))]
    made = learner("logistic_regression", trials)
    made.train_epoch()
    made.drop([0])
    network = made.network().eval()
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network.head(outputs("last4")))


def test_each_backbone_chooses_among_the_features_that_it_has(tmp_path: Path) -> None:
    made = space(tmp_path, "search: {features: [cls, mean, pool]}")
    found = {cell.name: domains_of(cell, made).get("features") for cell in made.cells()}
    chosen = {name: domain and list(domain.root) for name, domain in found.items()}  # type: ignore[union-attr]
    assert chosen == {
        "digits/vit/frozen": ["cls", "mean"],
        "digits/vit/full": None,
        "digits/cnn/frozen": ["pool"],
        "digits/cnn/full": None,
        "digits/fixed/frozen": None,
        "digits/fixed/full": None,
    }
    wide = {cell.name: backbone_of(cell, made).features for cell in made.cells()}
    assert wide["digits/vit/frozen"] == "cls+mean"
    assert wide["digits/vit/full"] is None
    assert wide["digits/fixed/frozen"] == "cls+mean"


def test_entries_of_one_network_share_its_pass(tmp_path: Path) -> None:
    text = SPACE.replace(
        "freeze:",
        "  - {name: other, model: test_vit, weights: none, features: cls}\n"
        "  - {name: apart, model: test_vit, weights: none, features: last4, std: [1, 1, 1]}\n"
        "freeze:",
    )
    (tmp_path / "space.yaml").write_text(text)
    made = load_space(str(tmp_path / "space.yaml"))
    wide = {cell.name: backbone_of(cell, made).features for cell in made.cells()}
    assert wide["digits/fixed/frozen"] == wide["digits/other/frozen"] == "cls+mean"
    assert wide["digits/fixed/full"] == "mean"
    assert wide["digits/apart/frozen"] == "last4"


@pytest.mark.parametrize("head", PARAMS)
def test_a_head_on_a_part_of_shared_features_is_what_it_is_on_its_own(head: str) -> None:
    features, labels = made_up()
    trials = [Trial(0, PARAMS[head])]
    how = (Recipe(), 3, "auroc", 0, torch.device("cpu"))
    shared = heads_on(
        Task(backbone("last4+mean"), labels, 2, *how), features, trials, HEADS[head], "mean"
    )
    own = {s: f[:, columns("last4+mean", "mean", f.shape[1])] for s, f in features.items()}
    alone = heads_on(Task(backbone("mean"), labels, 2, *how), own, trials, HEADS[head], "mean")
    for made in (shared, alone):
        made.train_epoch()
    np.testing.assert_array_equal(shared.probabilities("test"), alone.probabilities("test"))
    assert shared.backbone.spec.features == "mean"


def test_a_backbone_that_has_none_of_the_features_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"backbone cnn: search.features.*add one of pool"):
        plan_cells(space(tmp_path, "search: {features: [cls]}"), tmp_path)


@pytest.mark.parametrize(
    ("domain", "words"),
    [("[cls, meen]", "meen not allowed.*did you mean mean"), ("{low: 1, high: 2}", "a list of")],
)
def test_features_that_there_are_not_are_refused(tmp_path: Path, domain: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        space(tmp_path, f"search: {{features: {domain}}}")
