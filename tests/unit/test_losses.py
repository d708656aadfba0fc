"""Losses: the batched gradient is that of the loss, however it is computed."""

import pytest
import torch

from sweep.space.registries import LOSSES
from sweep.train.losses.base import Loss, loss_of


@pytest.mark.parametrize("name", LOSSES.names())
def test_the_mean_is_that_of_each_sample(name: str) -> None:
    logits, labels = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    loss = loss_of(name)
    torch.testing.assert_close(loss.mean(logits, labels), loss.of_each(logits, labels).mean())


@pytest.mark.parametrize("name", LOSSES.names())
def test_the_gradient_of_all_members_is_that_of_each_alone(name: str) -> None:
    logits_BKC, labels_B = torch.randn(6, 4, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = loss_of(name)
    with torch.inference_mode():  # as in the probe
        sums_K, error_BKC = loss.gradient(logits_BKC.clone(), labels_B)
        slow_K, slow_BKC = Loss.gradient(loss, logits_BKC.clone(), labels_B)
    torch.testing.assert_close(sums_K, slow_K)
    torch.testing.assert_close(error_BKC, slow_BKC)
    for member in range(4):
        alone = logits_BKC[:, member].clone().requires_grad_()
        total = loss.of_each(alone, labels_B).sum()
        total.backward()
        torch.testing.assert_close(sums_K[member].float(), total.detach())
        torch.testing.assert_close(error_BKC[:, member], alone.grad)
