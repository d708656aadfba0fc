"""Probes: many linear heads on cached features, trained in one pass.

Dimensions: N samples, B of a batch, D features (with one more row for the bias), K members,
C classes. The parameters of all members lie side by side in one (D+1, K*C) matrix, so that a
step is one matrix product forward and one backward, whatever K is.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone, Network, initial_head
from sweep.train.class_weights import class_weights
from sweep.train.learner import (
    BestEpoch,
    EpochScore,
    State,
    Task,
    Trial,
    validation,
    with_validation,
)
from sweep.train.losses.base import loss_of
from sweep.train.probabilities import as_array
from sweep.train.schedule import BETAS, EPSILON, MOMENTUM, RateSchedule, epoch_batches
from sweep.train.standardize import Standardizer


class BatchedLinearProbe:
    """Linear heads that differ in learning rate, weight decay and class weights; a Learner.

    `SEARCHED` names the hyper-parameters that its members can differ in.

    Each member gets, within rounding, the weights that it would get alone: the members share
    the initial weights and the order of the samples, and no operation mixes them.

    Args:
        features: per split, float32 (N, D) on the CPU.
        trials: the members.
    """

    SEARCHED = frozenset({"learning_rate", "backbone_scale", "weight_decay", "class_weights"})

    def __init__(self, task: Task, features: dict[str, Tensor], trials: list[Trial]) -> None:
        self.epoch, self.flops = 0, 0.0  # its work is counted by epochs
        self.best = {trial.number: BestEpoch(task.objective) for trial in trials}
        self._task, self._recipe, self._classes = task, task.recipe, task.classes
        self._trials, self._raw = {trial.number: trial for trial in trials}, features
        self._loss = loss_of(task.recipe.loss)
        device = task.device
        self._features = {name: item.to(device) for name, item in features.items()}
        self._standardizer: Standardizer | None = None
        if task.recipe.standardize:
            self._standardizer = Standardizer.fit(self._features["train"])
            for name, raw_ND in self._features.items():
                self._features[name] = self._standardizer.transform(raw_ND)
        self._train_labels = task.labels["train"].to(device)
        self._numbers = [trial.number for trial in trials]
        self._rates = torch.tensor([trial.learning_rate for trial in trials], device=device)
        decays = [trial.value("weight_decay", task.recipe.weight_decay) for trial in trials]
        self._decays = torch.tensor(decays, device=device)
        self._decaying = any(decays)
        # The last row is the bias.
        self._decaying_rows = slice(-1 if task.recipe.weight_decay_on == "matrices" else None)
        weights = [task.recipe.with_params(trial.params).class_weights for trial in trials]
        self._class_weights_KC: Tensor | None = None
        if set(weights) != {"none"}:
            rows = [class_weights(self._train_labels, task.classes, how) for how in weights]
            self._class_weights_KC = torch.stack(rows)
        weight_CD = initial_head(task.classes, task.backbone.features, task.seed)
        if self._standardizer:
            # The minimum does not depend on where it is sought from, and small weights on many
            # features of variance 1 make large logits.
            weight_CD.zero_()
        # E = D + 1: the last row holds the bias.
        head_EC = torch.cat([weight_CD.T, torch.zeros(1, task.classes)])
        self._weights = head_EC.repeat(1, len(trials)).to(device)
        self._first_moment = torch.zeros_like(self._weights)
        self._second_moment = torch.zeros_like(self._weights)
        self._best_weights = self._weights.clone()
        self._steps = 0

    @property
    def backbone(self) -> Backbone:
        """The backbone whose features or weights are trained."""
        return self._task.backbone

    @property
    def active(self) -> list[int]:
        """Numbers of the members that still learn."""
        return list(self._numbers)

    @torch.inference_mode()
    def train_epoch(self) -> list[EpochScore]:
        """Train every active member for one epoch and score it on the validation split."""
        self.epoch += 1
        results = self._scores(self.train_only(self.epoch))
        self._keep_best(results)
        self.drop([result.number for result in results if result.diverged])
        return results

    @torch.inference_mode()
    def train_only(self, epoch: int) -> list[float]:
        """Take the steps of one epoch; return each active member's mean loss."""
        rates_P = self._rates.repeat_interleave(self._classes)
        decays_P = self._decays.repeat_interleave(self._classes)
        features_ND, labels_N = self._features["train"], self._train_labels
        gradient = torch.empty_like(self._weights)
        losses_K = torch.zeros_like(self._rates, dtype=torch.float64)
        batches = epoch_batches(len(labels_N), self._recipe.batch_size, self._task.seed, epoch)
        schedule = RateSchedule(self._recipe, self._task.epochs, len(batches))
        for step, batch in enumerate(batches):
            rows = batch.to(labels_N.device)
            losses_K += self._gradient(features_ND[rows], labels_N[rows], gradient)
            self._step(gradient, rates_P * schedule.factor(epoch, step), decays_P)
        return [float(loss) for loss in losses_K / len(labels_N)]

    @torch.inference_mode()
    def refitted(self) -> "BatchedLinearProbe":
        """Return the first member, trained to its best epoch on training and validation samples."""
        number = self._numbers[0]
        task, features = with_validation(self._task, self._raw)
        made = BatchedLinearProbe(task, features, [self._trials[number]])
        for epoch in range(1, self.best[number].epoch + 1):
            made.train_only(epoch)
        made.epoch, made.best = self.epoch, self.best
        made._best_weights.copy_(made._weights)
        return made

    def drop(self, numbers: list[int]) -> None:
        """Stop training these members; their columns leave the matrices."""
        kept = [i for i, number in enumerate(self._numbers) if number not in numbers]
        if len(kept) == len(self._numbers):
            return
        columns = self._columns(kept)
        self._numbers = [self._numbers[i] for i in kept]
        self._rates, self._decays = self._rates[kept], self._decays[kept]
        if self._class_weights_KC is not None:
            self._class_weights_KC = self._class_weights_KC[kept]
        for name in ("_weights", "_first_moment", "_second_moment", "_best_weights"):
            setattr(self, name, getattr(self, name)[:, columns].contiguous())

    def state(self) -> State:
        """Return all that is needed to go on from here."""
        return {
            "epoch": self.epoch,
            "numbers": list(self._numbers),
            "best": {number: vars(best).copy() for number, best in self.best.items()},
            "steps": self._steps,
            "matrices": [
                item.cpu().clone()
                for item in (
                    self._weights,
                    self._first_moment,
                    self._second_moment,
                    self._best_weights,
                )
            ],
        }

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave; members that are not in it are dropped."""
        self.drop([number for number in self._numbers if number not in state["numbers"]])
        kept = [i for i, number in enumerate(state["numbers"]) if number in self._numbers]
        columns = self._columns(kept)
        self.epoch, self._steps = state["epoch"], state["steps"]
        self.best.update({number: BestEpoch(**best) for number, best in state["best"].items()})
        device = self._weights.device
        self._weights, self._first_moment, self._second_moment, self._best_weights = (
            item[:, columns].to(device) for item in state["matrices"]
        )

    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the first member's best epoch."""
        logits = _affine(self._features[split], self._best_weights[:, : self._classes])
        return as_array(logits, self._task.target)

    def network(self) -> Network:
        """Return the first member as a network with the weights of its best epoch."""
        network = self._task.backbone.network(self._classes, self._task.seed)
        weight_CD, bias_C = self._best_weights[:-1, : self._classes].T, self._best_weights[-1]
        head, bias_C = network.head, bias_C[: self._classes]
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            if self._standardizer:
                network.head = self._standardizer.folded(weight_CD, bias_C).cpu()
            else:
                head.weight.copy_(weight_CD)
                head.bias.copy_(bias_C)
        return network

    def weights(self) -> Tensor:
        """Return the current weights (D+1, K, C) of the active members; the last row is bias."""
        return self._weights.view(len(self._weights), -1, self._classes)

    def _columns(self, members: list[int]) -> list[int]:
        return [i * self._classes + c for i in members for c in range(self._classes)]

    def _gradient(self, batch_BD: Tensor, labels_B: Tensor, gradient: Tensor) -> Tensor:
        """Write the gradient of the mean weighted loss; return the summed losses (K,).

        The losses that are returned, and told, are not weighted.
        """
        logits_BKC = _affine(batch_BD, self._weights).view(len(batch_BD), -1, self._classes)
        losses_K, error_BKC = self._loss.gradient(logits_BKC, labels_B)
        if self._class_weights_KC is not None:
            error_BKC = error_BKC * self._class_weights_KC[:, labels_B].T[:, :, None]
        error_BP = error_BKC.view(len(batch_BD), -1).div_(len(batch_BD))
        torch.mm(batch_BD.T, error_BP, out=gradient[:-1])
        torch.sum(error_BP, dim=0, out=gradient[-1])
        return losses_K

    def _step(self, gradient: Tensor, rates_P: Tensor, decays_P: Tensor) -> None:
        """Take one step of Adam, AdamW or SGD with each member's own rate and weight decay.

        As torch.optim does it.
        """
        self._steps += 1
        if self._recipe.optimizer == "adamw":
            self._weights[self._decaying_rows].mul_(1 - rates_P * decays_P)
        elif self._decaying:
            gradient[self._decaying_rows].addcmul_(self._weights[self._decaying_rows], decays_P)
        if self._recipe.optimizer == "sgd":
            if self._steps == 1:
                self._first_moment.copy_(gradient)
            else:
                self._first_moment.mul_(MOMENTUM).add_(gradient)
            self._weights.sub_(self._first_moment * rates_P)
            return
        first, second = BETAS
        self._first_moment.lerp_(gradient, 1 - first)
        self._second_moment.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = math.sqrt(1 - second**self._steps)
        step = self._second_moment.sqrt().div_(root).add_(EPSILON)
        step = torch.div(self._first_moment, step, out=step)
        self._weights.sub_(step.mul_(rates_P / (1 - first**self._steps)))

    def _scores(self, losses: list[float]) -> list[EpochScore]:
        logits = _affine(self._features["val"], self._weights)
        logits_KNC = logits.view(len(logits), -1, self._classes).transpose(0, 1).cpu()
        return validation(self._task, logits_KNC, losses, self._numbers, self.epoch)

    def _keep_best(self, results: list[EpochScore]) -> None:
        better = [
            i
            for i, result in enumerate(results)
            if not result.diverged and self.best[result.number].offer(result)
        ]
        columns = self._columns(better)
        self._best_weights[:, columns] = self._weights[:, columns]


def _affine(features_ND: Tensor, weights_EP: Tensor) -> Tensor:
    return torch.addmm(weights_EP[-1], features_ND, weights_EP[:-1])
