"""Counted work: what a training step costs more than a forward pass, for every kind of network."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sweep.run.plan import plan_cells
from sweep.run.work import shares
from sweep.space.aliases import ALIASES
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Space
from sweep.train.flops import _counter, forward_flops, step_flops


@pytest.mark.parametrize("name", [name for name in ALIASES if name != "uni"])  # a hub's model
def test_a_step_of_full_fine_tuning_costs_three_forward_passes(name: str) -> None:
    spec = BackboneSpec.model_validate(name)
    assert 2.8 < step_flops(spec, 224, "full") / forward_flops(spec, 224) < 3.1


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_gradients_of_a_grouped_convolution_cost_what_its_forward_pass_does(groups: int) -> None:
    layer = nn.Conv2d(8, 8, 3, groups=groups, padding=1, device="meta")
    images = torch.zeros(2, 8, 10, 10, device="meta", requires_grad=True)
    with _counter() as forward:
        output = layer(images)
    with _counter() as backward:
        output.sum().backward()
    assert forward.get_total_flops() == 2 * 2 * 8 * (8 // groups) * 9 * 100
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


@pytest.mark.parametrize("mode", ["full", "last:1", "norm"])
def test_batch_norms_that_are_left_out_do_not_change_the_count(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": "plain", "model": "resnet10t", "weights": "none"}
    counted = step_flops(BackboneSpec.model_validate({**entry, "name": "simplified"}), 64, mode)
    monkeypatch.setattr("sweep.train.flops._simplify", lambda network: None)
    assert step_flops(BackboneSpec.model_validate(entry), 64, mode) == counted > 0


def test_features_that_several_modes_share_are_work_only_once(tmp_path: Path) -> None:
    entry = {"name": "b", "model": "test_vit", "weights": "none"}
    space = {"name": "s", "datasets": ["digits"], "backbones": [entry], "image_size": 160}

    def work(modes: list[str]) -> float:
        plans = plan_cells(Space.model_validate({**space, "freeze": modes}), tmp_path)
        return sum(share.work.flops for share in shares((p.cell, p.work) for p in plans))

    assert work(["frozen"]) == work(["frozen", "knn", "logreg"]) > 0
