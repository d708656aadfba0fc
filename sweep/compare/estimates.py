"""An estimate and how sure it is: one confidence distribution gives intervals and p-values.

`below(x)` is the confidence that the true value is below x. An interval holds what is neither
nearly surely below nor above; the two-sided p-value of "no difference" is twice the smaller of
the confidences below and above 0; two one-sided tests (TOST; Schuirmann 1987) look at both ends
of a margin. So an interval that excludes 0 and a p-value under 0.05 always agree.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from sweep.train.metrics import Floats

LEVEL = 0.95
_LEAST = 0.1  # that a correction is divided by: BCa is not meant for skewness beyond that
_SOUND = 0.75  # of the resamples must have a meaning


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float


class Estimate(Protocol):
    """A value known with a sampling error."""

    @property
    def point(self) -> float:
        """The value itself."""

    def below(self, value: float) -> float:
        """Return the confidence, from 0 to 1, that the true value is below `value`."""

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the central interval that holds the true value with this confidence."""


@dataclass(frozen=True)
class Bootstrapped:
    """An estimate with its resamples: bias-corrected and accelerated (BCa; Efron 1987).

    Where no bias can be told (all resamples on one side of the point, or all alike) the
    percentiles are taken as they are. Beyond the resamples `below` is that of a normal
    distribution of their mean and spread: families of many tests ask for small p-values.

    Attributes:
        point: of the sample as it is.
        resampled_R: of each resample; NaN where it has no meaning.
        influences_J: what each block of groups adds; their skewness is the acceleration.
    """

    point: float
    resampled_R: Floats
    influences_J: Floats

    def below(self, value: float) -> float:
        """Return the confidence that the true value is below `value`."""
        sound_R = self._sound()
        if not len(sound_R):
            return 0.5
        share, floor = _share_below(sound_R, value), 0.5 / len(sound_R)
        bias, acceleration = self._correction(sound_R)
        moved = float(ndtri(min(max(share, floor), 1 - floor))) - bias
        place = moved / max(1 + acceleration * moved, _LEAST) - bias
        # Further out than the resamples reach the tail is normal, where that is thinner.
        if (spread := float(sound_R.std())) and not floor < share < 1 - floor:
            distance = (value - float(sound_R.mean())) / spread
            place = min(place, distance) if share < 0.5 else max(place, distance)
        return float(ndtr(place))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the BCa interval; without a width if nothing can be resampled."""
        sound_R = self._sound()
        if not len(sound_R):
            return Interval(self.point, self.point, self.point)
        bias, acceleration = self._correction(sound_R)
        tails = []
        for tail in ((1 - level) / 2, (1 + level) / 2):
            moved = bias + float(ndtri(tail))
            tails.append(float(ndtr(bias + moved / max(1 - acceleration * moved, _LEAST))))
        low, high = np.quantile(sound_R, tails)
        return Interval(self.point, float(low), float(high))

    def centred(self) -> "Bootstrapped":
        """Return the estimate with its resamples moved so that their mean is the point.

        For what resampling only ever makes larger, such as a calibration error: its resamples
        may all be above the point.
        """
        sound_R = self._sound()
        if not len(sound_R):
            return self
        moved_R = np.maximum(self.resampled_R - (sound_R.mean() - self.point), 0)
        return Bootstrapped(self.point, moved_R, self.influences_J)

    def _sound(self) -> Floats:
        """Return the resamples that have a meaning; none if too many have not to tell anything."""
        sound_R = self.resampled_R[~np.isnan(self.resampled_R)]
        return sound_R if len(sound_R) >= _SOUND * len(self.resampled_R) else sound_R[:0]

    def _correction(self, sound_R: Floats) -> tuple[float, float]:
        share = _share_below(sound_R, self.point)
        spread = float((self.influences_J**2).sum()) ** 1.5
        if share in (0.0, 1.0) or spread == 0:
            return 0.0, 0.0
        return float(ndtri(share)), float((self.influences_J**3).sum()) / (6 * spread)


@dataclass(frozen=True)
class Normal:
    """An estimate with a standard error, whose error is normal."""

    point: float
    error: float

    def below(self, value: float) -> float:
        """Return the confidence that the true value is below `value`."""
        if self.error == 0:
            return 0.5 if value == self.point else float(value > self.point)
        return float(ndtr((value - self.point) / self.error))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the normal interval."""
        reach = float(ndtri((1 + level) / 2)) * self.error
        return Interval(self.point, self.point - reach, self.point + reach)


def contrast(terms: list[tuple[float, Bootstrapped]]) -> Bootstrapped:
    """Return a weighted sum of metrics of one test split, resample by resample."""
    return Bootstrapped(
        sum(weight * item.point for weight, item in terms),
        np.sum([weight * item.resampled_R for weight, item in terms], axis=0),
        np.sum([weight * item.influences_J for weight, item in terms], axis=0),
    )


def averaged(items: list[Bootstrapped]) -> Bootstrapped:
    """Return the mean of estimates from different test splits, which were drawn apart."""
    return Bootstrapped(
        float(np.mean([item.point for item in items])),
        np.mean([item.resampled_R for item in items], axis=0),
        np.concatenate([item.influences_J for item in items]) / len(items),
    )


def two_sided(estimate: Estimate) -> float:
    """Return the p-value of the true value being 0."""
    below = estimate.below(0.0)
    return min(1.0, 2 * min(below, 1 - below))


def not_worse(estimate: Estimate, margin: float) -> float:
    """Return the p-value of a difference being `margin` or more below 0."""
    return estimate.below(-margin)


def equivalence(estimate: Estimate, margin: float) -> float:
    """Return the TOST p-value of a difference being `margin` or more from 0 on either side."""
    return max(estimate.below(-margin), 1 - estimate.below(margin))


def _share_below(values_R: Floats, value: float) -> float:
    """Return the share of values below `value`; equal ones count half.

    Values that differ by rounding alone are equal: identical cells must differ by nothing.
    """
    near = np.isclose(values_R, value, rtol=0, atol=1e-12)
    below = (values_R < value) & ~near
    share = (below.sum() + near.sum() / 2) / len(values_R)
    return 0.5 if math.isnan(share) else float(share)
