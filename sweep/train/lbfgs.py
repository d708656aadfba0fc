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

_MEMORY = 10
_ARMIJO = 1e-4
_MOST_HALVINGS = 25


def minimise(
    objective: Objective, start_KP: Tensor, tolerance: float = 1e-7, steps: int = 500
) -> Tensor:
    """Return the parameters (K, P) at which each objective is smallest.

    Args:
        objective: parameters (K, P) of some of the problems, and which these are (K,), to values
            (K,) and gradients (K, P).
        tolerance: a problem ends where no entry of its gradient is larger.
    """
    found_KP = start_KP.clone()
    which_K = torch.arange(len(start_KP), device=start_KP.device)
    parameters_KP = start_KP.clone()
    value_K, gradient_KP = objective(parameters_KP, which_K)
    memory: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        running_K = gradient_KP.abs().amax(dim=1) > tolerance
        if not bool(running_K.any()):
            break
        if 2 * int(running_K.sum()) <= len(which_K):
            # Those that have ended leave the batch, once they are half of it.
            found_KP[which_K] = parameters_KP
            which_K, parameters_KP = which_K[running_K], parameters_KP[running_K]
            value_K, gradient_KP = value_K[running_K], gradient_KP[running_K]
            memory = [(moved[running_K], change[running_K]) for moved, change in memory]
            running_K = running_K[running_K]
        direction_KP = _direction(gradient_KP, memory) * running_K[:, None]
        slope_K = (direction_KP * gradient_KP).sum(dim=1)
        uphill_K = slope_K >= 0
        direction_KP = torch.where(uphill_K[:, None], -gradient_KP, direction_KP)
        direction_KP = direction_KP * running_K[:, None]
        slope_K = (direction_KP * gradient_KP).sum(dim=1)
        first = 1.0 if memory else 1 / float(gradient_KP.abs().sum(dim=1).max().clamp(min=1))
        at = _Place(which_K, parameters_KP, value_K, slope_K, direction_KP)
        found = _search(objective, at, first)
        if found is None:
            break
        new_KP, new_value_K, new_gradient_KP = found
        memory = [*memory[1 - _MEMORY :], (new_KP - parameters_KP, new_gradient_KP - gradient_KP)]
        parameters_KP, value_K, gradient_KP = new_KP, new_value_K, new_gradient_KP
    found_KP[which_K] = parameters_KP
    return found_KP


class _Place(NamedTuple):
    """Where each problem is, and the direction in which its next step is searched."""

    which_K: Tensor
    parameters_KP: Tensor
    value_K: Tensor
    slope_K: Tensor
    direction_KP: Tensor


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
        moved_KP, change_KP, inverse_K, _ = kept[0]
        norm_K = (change_KP * change_KP).sum(dim=1)
        scale_K = torch.where(inverse_K > 0, 1 / (inverse_K * norm_K), 1)
        direction_KP *= scale_K[:, None]
    for moved_KP, change_KP, inverse_K, share_K in reversed(kept):
        back_K = inverse_K * (change_KP * direction_KP).sum(dim=1)
        direction_KP += (share_K - back_K)[:, None] * moved_KP
    return -direction_KP


def _search(objective: Objective, at: _Place, first: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """Halve each problem's step until its value has fallen enough; None if none can fall."""
    which_K, parameters_KP, value_K, slope_K, direction_KP = at
    step_K = torch.full_like(value_K, first)
    rounding_K = 1e-7 * value_K.abs()
    for _ in range(_MOST_HALVINGS):
        new_KP = parameters_KP + step_K[:, None].to(parameters_KP.dtype) * direction_KP
        new_value_K, new_gradient_KP = objective(new_KP, which_K)
        enough_K = new_value_K <= value_K + _ARMIJO * step_K * slope_K + rounding_K
        if bool(enough_K.all()):
            return new_KP, new_value_K, new_gradient_KP
        step_K = torch.where(enough_K, step_K, step_K / 2)
    stuck_K = ~enough_K
    if bool(stuck_K.all()):
        return None
    step_K = torch.where(stuck_K, 0, step_K)
    new_KP = parameters_KP + step_K[:, None].to(parameters_KP.dtype) * direction_KP
    return new_KP, *objective(new_KP, which_K)
