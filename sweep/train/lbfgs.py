"""L-BFGS for many problems at once: each step is taken for all of them in the same operations.

Nocedal and Wright (2006), algorithms 7.4 and 7.5, with Armijo's backtracking. The problems do not
mix: each has its own direction, its own step and its own end.

Dimensions: K problems, P parameters of each, M remembered steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_MEMORY = 20
_ARMIJO = 1e-4
_MOST_HALVINGS = 25
_ROUNDING = 8  # by how many times the rounding of its value a step may end above the one before


class Minimum(NamedTuple):
    """Where each objective is smallest.

    Attributes:
        parameters_KP: of each problem.
        evaluations_K: how often each objective and its gradient were computed.
    """

    parameters_KP: Tensor
    evaluations_K: Tensor


def minimise(
    objective: Objective, start_KP: Tensor, tolerance: float, steps: int = 5000
) -> Minimum:
    """Return the parameters at which each objective is smallest.

    Args:
        objective: parameters (K, P) of some of the problems, and which these are (K,), to values
            (K,) and gradients (K, P).
        tolerance: a problem ends where no entry of its gradient is larger, or where no step makes
            its value smaller.
    """
    found = Minimum(start_KP.clone(), torch.zeros(len(start_KP), dtype=torch.long))
    which_K = torch.arange(len(start_KP), device=start_KP.device)
    at = _Point(start_KP.clone(), *objective(start_KP, which_K))
    found.evaluations_K[which_K.cpu()] += 1
    ended_K = torch.zeros(len(start_KP), dtype=torch.bool, device=start_KP.device)
    memory: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        ended_K |= at.gradient_KP.abs().amax(dim=1) <= tolerance
        if bool(ended_K.all()):
            break
        if 2 * int(ended_K.sum()) >= len(which_K):
            # Those that have ended leave the batch, once they are half of it.
            found.parameters_KP[which_K] = at.parameters_KP
            kept_K = ~ended_K
            which_K, ended_K = which_K[kept_K], ended_K[kept_K]
            at = _Point(*(item[kept_K] for item in at))
            memory = [(moved[kept_K], change[kept_K]) for moved, change in memory]
        direction_KP = _direction(at.gradient_KP, memory)
        uphill_K = (direction_KP * at.gradient_KP).sum(dim=1) >= 0
        direction_KP = torch.where(uphill_K[:, None], -at.gradient_KP, direction_KP)
        direction_KP[ended_K] = 0
        first = 1.0 if memory else 1 / float(at.gradient_KP.abs().sum(dim=1).max().clamp(min=1))
        after, stuck_K, evaluations = _search(objective, which_K, at, direction_KP, first)
        found.evaluations_K[which_K.cpu()] += evaluations
        ended_K |= stuck_K
        memory = [
            *memory[1 - _MEMORY :],
            (after.parameters_KP - at.parameters_KP, after.gradient_KP - at.gradient_KP),
        ]
        at = after
    found.parameters_KP[which_K] = at.parameters_KP
    return found


class _Point(NamedTuple):
    """Where each problem is, and its value and gradient there."""

    parameters_KP: Tensor
    value_K: Tensor
    gradient_KP: Tensor


def _direction(gradient_KP: Tensor, memory: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the direction of descent (K, P) by the two-loop recursion.

    A step along which the gradient did not grow is passed over, for its own problem.
    """
    direction_KP = gradient_KP.clone()
    kept = []
    for moved_KP, change_KP in reversed(memory):
        curvature_K = (moved_KP * change_KP).sum(dim=1)
        usable_K = curvature_K > 1e-10 * (change_KP * change_KP).sum(dim=1)
        inverse_K = torch.where(usable_K, 1 / curvature_K, 0)
        share_K = inverse_K * (moved_KP * direction_KP).sum(dim=1)
        direction_KP -= share_K[:, None] * change_KP
        kept.append((moved_KP, change_KP, inverse_K, share_K))
    if kept:
        _, change_KP, inverse_K, _ = kept[0]
        norm_K = (change_KP * change_KP).sum(dim=1)
        scale_K = torch.where(inverse_K > 0, 1 / (inverse_K * norm_K), 1)
        direction_KP *= scale_K[:, None]
    for moved_KP, change_KP, inverse_K, share_K in reversed(kept):
        back_K = inverse_K * (change_KP * direction_KP).sum(dim=1)
        direction_KP += (share_K - back_K)[:, None] * moved_KP
    return -direction_KP


def _search(
    objective: Objective, which_K: Tensor, at: _Point, direction_KP: Tensor, first: float
) -> tuple[_Point, Tensor, int]:
    """Halve each problem's step until its value has fallen enough.

    Returns the new point, which problems (K,) no step has moved, and the number of evaluations.
    """
    slope_K = (direction_KP * at.gradient_KP).sum(dim=1)
    step_K = torch.full_like(at.value_K, first)
    rounding_K = _ROUNDING * torch.finfo(at.value_K.dtype).eps * at.value_K.abs()
    for evaluations in range(1, _MOST_HALVINGS + 1):
        new_KP = at.parameters_KP + step_K[:, None] * direction_KP
        after = _Point(new_KP, *objective(new_KP, which_K))
        enough_K = after.value_K <= at.value_K + _ARMIJO * step_K * slope_K + rounding_K
        if bool(enough_K.all()):
            return after, ~enough_K, evaluations
        step_K = torch.where(enough_K, step_K, step_K / 2)
    mixed = (
        torch.where(enough_K.view(-1, *[1] * (new.ndim - 1)), new, old)
        for new, old in zip(after, at, strict=True)
    )
    return _Point(*mixed), ~enough_K, evaluations
