"""Fine-tuning: the loop for every freeze mode in which a part of the trunk learns.

Images come from the store as uint8, on the device as a whole where they fit, else batch by
batch while the step before computes; normalising and augmenting happen on the device.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone, Network, seeded
from sweep.backbones.low_rank import merged_state
from sweep.backbones.small_maps import use_small_maps
from sweep.backbones.trainable import freeze, set_training
from sweep.data.store.image_store import Store
from sweep.train.augment import AUGMENTATIONS, augment
from sweep.train.class_weights import class_weights
from sweep.train.features import autocast, normalise
from sweep.train.frozen_layers import (
    FrozenLayers,
    fits_in_memory,
    frozen_names,
    is_worth_it,
)
from sweep.train.learner import BestEpoch, EpochScore, State, Task, Trial, validation
from sweep.train.losses.base import loss_of
from sweep.train.optimizer import optimizer_of
from sweep.train.probabilities import as_array
from sweep.train.read_ahead import read_ahead
from sweep.train.schedule import (
    RateSchedule,
    epoch_batches,
    epoch_seed,
    halving_memory,
)

_EVALUATION_BATCH = 64
_SHARE_OF_DEVICE = 0.25  # share of a GPU's free memory that images may occupy


class FineTuning:
    """One network of which the trunk learns, wholly or in part; a Learner of one member.

    Every hyper-parameter that a space can search is its own.

    Args:
        rows: per split, which rows of the store.
        mode: which freeze mode.
        keep_best: keep the weights of the best epoch, to predict with.
        progress: called with each batch, in training and in evaluation.

    Attributes:
        micro_batch: how many images go through the network at once; less than the batch where
            a GPU ran out of memory.
    """

    def __init__(
        self,
        task: Task,
        store: Store,
        rows: dict[str, NDArray[np.int64]],
        mode: str,
        trial: Trial,
        keep_best: bool = False,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.epoch, self.flops = 0, 0.0  # its work is counted by epochs
        self.micro_batch = task.recipe.batch_size
        self.best = {trial.number: BestEpoch(task.objective)}
        self._number, self._stopped = trial.number, False
        self._task, self._recipe, self._device = task, task.recipe, task.device
        self._rows, self._labels = rows, task.labels
        self._loss = loss_of(task.recipe.loss)
        self._class_weights_C: Tensor | None = None
        if (how := task.recipe.class_weights) != "none":
            weights_C = class_weights(task.labels["train"], task.classes, how)
            self._class_weights_C = weights_C.to(task.device)
        self._preprocessing = task.backbone.preprocessing
        drop_path = task.recipe.drop_path_rate
        self._network = task.backbone.network(task.classes, task.seed, drop_path).to(task.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if task.device.type == "cpu":
            use_small_maps(self._network)
        with seeded(task.seed):
            freeze(self._network, mode)
        self.optimizer = optimizer_of(self._network, trial, task.recipe)
        self._trained = [p for p in self._network.parameters() if p.requires_grad]
        self._average = self._begin_average()
        self._best_weights: dict[str, Tensor] | None = {} if keep_best else None
        self._best_logits = torch.empty(0)  # logits of the validation split
        self._images = _Images(store, task.device, progress)
        self._frozen: FrozenLayers | None = None
        self._looked_for_frozen = False

    def begin_with(self, head: nn.Linear) -> None:
        """Take a head that was trained before in place of the new one."""
        self._network.head.load_state_dict(head.state_dict())
        self._average = self._begin_average()

    def _begin_average(self) -> ModelEmaV3 | None:
        """Return the moving average of the weights, if the recipe has one."""
        decay = self._recipe.ema_decay
        return ModelEmaV3(self._network, decay=decay, use_warmup=True) if decay else None

    @property
    def _evaluated(self) -> Network:
        """The network that predicts: that of the averaged weights, if they are averaged."""
        network: Network = self._average.module if self._average else self._network
        return network

    @property
    def backbone(self) -> Backbone:
        """The backbone whose features or weights are trained."""
        return self._task.backbone

    @property
    def active(self) -> list[int]:
        """Number of the member, as long as it learns."""
        return [] if self._stopped else [self._number]

    def train_epoch(self) -> list[EpochScore]:
        """Train for one epoch and score on the validation split."""
        if not self._looked_for_frozen:
            self._looked_for_frozen, self._frozen = True, self._frozen_layers()
            if self._recipe.compile and self._frozen is None:  # replacing layers would compile anew
                self._network.compile()
        self.epoch += 1
        loss = self.train_only()
        logits_NC = self._logits("val")
        (result,) = validation(self._task, logits_NC[None], [loss], [self._number], self.epoch)
        self._stopped = result.diverged
        if not result.diverged and self.best[self._number].offer(result):
            self._best_logits = logits_NC
            self._remember()
        return [result]

    def train_only(self) -> float:
        """Take the steps of the current epoch; return the mean loss."""
        with seeded(epoch_seed(self._task.seed, self.epoch)):
            return self._train()

    def drop(self, numbers: list[int]) -> None:
        """Stop training if the member is among `numbers`."""
        self._stopped = self._stopped or self._number in numbers

    def state(self) -> State:
        """Return all that is needed to go on from here."""
        return {
            "epoch": self.epoch,
            "network": self._network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self._average.module.state_dict() if self._average else None,
            "best": vars(self.best[self._number]).copy(),
            "best_weights": self._best_weights,
            "best_logits": self._best_logits,
            "micro_batch": self.micro_batch,
        }

    def result(self) -> State:
        """Return all that is needed to predict with the best epoch, and not to train on."""
        left_out = {"network", "optimizer", "average"}
        return {name: item for name, item in self.state().items() if name not in left_out}

    def restore(self, state: State) -> None:
        """Go on from a state, or a result, of the same trial."""
        self.epoch, self.micro_batch = state["epoch"], state["micro_batch"]
        if "network" in state:
            self._network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self._average:
                self._average.module.load_state_dict(state["average"])
        self.best[self._number] = BestEpoch(**state["best"])
        self._best_weights, self._best_logits = state["best_weights"], state["best_logits"]

    def validation_probabilities(self) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the validation split at the best epoch.

        Empty if there is none.
        """
        return as_array(self._best_logits, self._task.target)

    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the best epoch."""
        if split == "val" and len(self._best_logits):
            return self.validation_probabilities()
        self._recall()
        return as_array(self._logits(split), self._task.target)

    def network(self) -> Network:
        """Return the network with the weights of its best epoch, updates of low rank merged."""
        self._recall()
        state = merged_state(self._evaluated)
        if state is None:
            return self._evaluated
        merged = self._task.backbone.network(self._task.classes, self._task.seed)
        merged.load_state_dict(state)
        return merged.to(self._device).eval()

    def _train(self) -> float:
        set_training(self._network)
        rows, labels = self._rows["train"], self._labels["train"]
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        batches = epoch_batches(len(rows), self._recipe.batch_size, self._task.seed, self.epoch)
        images = self._images.batches([rows[batch.numpy()] for batch in batches])
        schedule = RateSchedule(self._recipe, self._task.epochs, len(batches))
        for step, (batch, images_B) in enumerate(zip(batches, images, strict=True)):
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule.factor(self.epoch, step)
            outputs = self._frozen.of(rows[batch.numpy()]) if self._frozen else None
            total += self._step(images_B, labels[batch].to(self._device), outputs) * len(batch)
            if self._average:
                done = (self.epoch - 1) * len(batches) + step + 1
                self._average.update(self._network, step=done)
        return float(total) / len(rows)

    def _step(self, images_B: Tensor, labels_B: Tensor, outputs_B: Tensor | None) -> Tensor:
        """Take one optimizer step; return the mean loss of the batch before it, float64.

        The loss stays on the device, so that no step waits for another.

        Args:
            outputs_B: of the frozen layers, where these are known.
        """
        inputs = normalise(images_B, self._preprocessing)
        if self._recipe.augment != "none":
            inputs = augment(inputs, AUGMENTATIONS[self._recipe.augment])
        loss = torch.zeros((), dtype=torch.float64, device=self._device)

        def run(size: int) -> None:
            loss.zero_()
            self.optimizer.zero_grad(set_to_none=True)
            for start in range(0, len(inputs), size):
                part = slice(start, start + size)
                with autocast(self._device), self._replayed(self._network, outputs_B, part):
                    logits = self._network(inputs[part]).float()
                    mean = self._mean_loss(logits, labels_B[part])
                share = len(logits) / len(inputs)
                (mean * share).backward()
                loss.add_(mean.detach().double() * share)

        size = halving_memory(min(self.micro_batch, len(inputs)), run)
        if size < min(self.micro_batch, len(inputs)):
            self.micro_batch = size
        if self._recipe.max_grad_norm:
            nn.utils.clip_grad_norm_(self._trained, self._recipe.max_grad_norm)
        self.optimizer.step()
        return loss

    def _mean_loss(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        smoothing = self._recipe.label_smoothing
        if self._class_weights_C is None and not smoothing:
            return self._loss.mean(logits_BC, labels_B)
        losses_B = self._loss.smoothed(logits_BC, labels_B, smoothing)
        if self._class_weights_C is None:
            return losses_B.mean()
        return (losses_B * self._class_weights_C[labels_B]).mean()

    @torch.inference_mode()
    def _logits(self, split: str) -> Tensor:
        network = self._evaluated.eval()
        rows = self._rows[split]
        starts = range(_EVALUATION_BATCH, len(rows), _EVALUATION_BATCH)
        batches = np.split(rows, starts)
        frozen = self._frozen if split != "test" else None
        parts = []
        for own, images_B in zip(batches, self._images.batches(batches), strict=True):
            outputs_B = frozen.of(own) if frozen else None
            with autocast(self._device), self._replayed(network, outputs_B, slice(None)):
                parts.append(network(normalise(images_B, self._preprocessing)).float().cpu())
        return torch.cat(parts)

    def _replayed(
        self, network: Network, outputs_B: Tensor | None, part: slice
    ) -> AbstractContextManager[None]:
        if self._frozen is None or outputs_B is None:
            return nullcontext()
        return self._frozen.replayed(network, outputs_B[part])

    def _frozen_layers(self) -> FrozenLayers | None:
        """Return the outputs of the layers that no step changes; None if they are not worth it."""
        if self._recipe.augment != "none" or self._task.epochs == 1:
            return None
        rows = np.concatenate([self._rows["train"], self._rows["val"]])

        def inputs(batches: list[NDArray[np.int64]]) -> Iterator[Tensor]:
            for images_B in self._images.batches(batches):
                yield normalise(images_B, self._preprocessing)

        self._network.eval()
        with autocast(self._device):
            (some,) = inputs([rows[:2]])
            names = frozen_names(self._network, some)
            if not names or not is_worth_it(self._network, names):
                return None
            if not fits_in_memory(self._network, names[-1], some, len(rows)):
                return None
            return FrozenLayers(self._network, names, inputs, rows)

    def _remember(self) -> None:
        if self._best_weights is not None:
            self._best_weights = copy.deepcopy(self._evaluated.state_dict())

    def _recall(self) -> None:
        if self._best_weights:
            self._evaluated.load_state_dict(self._best_weights)


class _Images:
    """Batches of a store's images on a device; `progress` is called with each."""

    def __init__(self, store: Store, device: torch.device, progress: Callable[[], None]) -> None:
        self._store, self._device, self._progress = store, device, progress
        self._resident: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if len(store) * store.size**2 * 3 < _SHARE_OF_DEVICE * free:
                everything = store.rows(np.arange(len(store)))
                self._resident = torch.from_numpy(everything).to(device)

    def batches(self, batches: list[NDArray[np.int64]]) -> Iterator[Tensor]:
        """Yield the images (B, S, S, 3) of each batch of rows."""
        if self._resident is not None:
            for rows in batches:
                self._progress()
                yield self._resident[torch.from_numpy(rows).to(self._device)]
            return
        for read in read_ahead(self._store, batches):
            self._progress()
            images = torch.from_numpy(read)
            if self._device.type == "cuda":
                images = images.pin_memory()
            yield images.to(self._device, non_blocking=True)
