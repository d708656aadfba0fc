"""The optimizer of a fine-tuning: which rate and which weight decay each parameter has."""

from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from sweep.backbones.backbone import Network
from sweep.space.recipe import Recipe
from sweep.train.learner import Trial
from sweep.train.schedule import BETAS, EPSILON, MOMENTUM

Group = dict[str, Any]

_USUAL_DEPTH = 12


def optimizer_of(network: Network, trial: Trial, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer for the parameters of a network that are trained.

    Each group's ``initial_lr`` is its full rate.
    """
    groups = _groups(network, trial, recipe)
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, fused=True)
    else:
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(groups, betas=BETAS, eps=EPSILON, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _decay_of_a_layer(trunk: nn.Module, layer_decay: float) -> float:
    """Return the factor between two layers that a trunk's depth makes of a recipe's.

    The recipe's is meant for 12 blocks, as those of a ViT-B: networks with more layers, of which
    timm counts 20 in an EfficientNet, have the same rate at their lowest one.
    """
    matcher = getattr(trunk, "group_matcher", None)
    if matcher is None:
        return layer_decay
    layers = len(group_parameters(trunk, matcher(coarse=False))) - 1
    return float(layer_decay ** (_USUAL_DEPTH / max(1, layers)))


def _groups(network: Network, trial: Trial, recipe: Recipe) -> list[Group]:
    decay = trial.value("weight_decay", recipe.weight_decay)
    trunk_rate = trial.value("backbone_learning_rate", trial.learning_rate)
    weight, bias = network.head.parameters()
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    matrices_only = recipe.weight_decay_on == "matrices"
    if not matrices_only and recipe.layer_decay == 1:
        found = [([weight, bias], trial.learning_rate, decay), (trunk, trunk_rate, decay)]
    else:
        exceptions = getattr(network.trunk, "no_weight_decay", tuple)
        of_trunk = param_groups_layer_decay(
            network.trunk,
            weight_decay=decay,
            no_weight_decay_list=exceptions() if matrices_only else (),
            weight_decay_exclude_1d=matrices_only,
            layer_decay=_decay_of_a_layer(network.trunk, recipe.layer_decay),
        )
        found = [
            ([weight], trial.learning_rate, decay),
            ([bias], trial.learning_rate, 0.0 if matrices_only else decay),
            *((g["params"], trunk_rate * g["lr_scale"], g["weight_decay"]) for g in of_trunk),
        ]
    return [{"params": p, "lr": rate, "weight_decay": own} for p, rate, own in found if p]
