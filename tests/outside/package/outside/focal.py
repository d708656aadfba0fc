"""A loss: focal loss (Lin et al. 2017)."""

from torch import Tensor

from sweep.space.registries import LOSSES
from sweep.train.losses.base import Loss

_GAMMA = 2.0


class Focal(Loss):
    """Cross-entropy, less of it for samples that are easy."""

    def of_each(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the loss of each sample."""
        log_N = logits_NC.log_softmax(dim=1).gather(1, labels_N[:, None])[:, 0]
        return -((1 - log_N.exp()) ** _GAMMA) * log_N


FOCAL = Focal()
LOSSES.register("focal", FOCAL)
