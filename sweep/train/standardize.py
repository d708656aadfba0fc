"""Features of mean 0 and variance 1, as scikit-learn's StandardScaler makes them.

Dimensions: N samples, D features, C classes.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Standardizer:
    """What is subtracted from features, and by what they are divided.

    Attributes:
        mean_D, scale_D: float64; of a feature that is constant the scale is 1.
    """

    mean_D: Tensor
    scale_D: Tensor

    @classmethod
    def fit(cls, features_ND: Tensor) -> Self:
        """Return that of some features."""
        double_ND = features_ND.double()
        deviation_D = double_ND.std(dim=0, correction=0)
        return cls(double_ND.mean(dim=0), torch.where(deviation_D > 1e-12, deviation_D, 1))

    def transform(self, features_ND: Tensor) -> Tensor:
        """Return the standardised features, of the type that they were given in."""
        kind = features_ND.dtype
        return (features_ND - self.mean_D.to(kind)) / self.scale_D.to(kind)

    def folded(self, weight_CD: Tensor, bias_C: Tensor) -> nn.Linear:
        """Return the linear layer on raw features that does what one on standardised ones does."""
        raw_CD = weight_CD.double() / self.scale_D
        classes, features = weight_CD.shape
        head = nn.Linear(features, classes)
        with torch.no_grad():
            head.weight.copy_(raw_CD)
            head.bias.copy_(bias_C.double() - raw_CD @ self.mean_D)
        return head
