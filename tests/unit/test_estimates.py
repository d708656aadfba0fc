"""Intervals, p-values and equivalence come from one confidence distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweep.compare.estimates import (
    Bootstrapped,
    Normal,
    averaged,
    contrast,
    equivalence,
    not_worse,
    two_sided,
)


def skewed(seed: int = 0, count: int = 60) -> tuple[np.ndarray, Bootstrapped]:
    """A mean of skewed values, with its resamples and jackknife."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=count)
    resampled = rng.choice(values, (4000, count)).mean(axis=1)
    left_out = (values.sum() - values) / (count - 1)
    return values, Bootstrapped(values.mean(), resampled, left_out.mean() - left_out)


def test_the_interval_is_scipys_bca() -> None:
    values, estimate = skewed()
    oracle = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = estimate.interval()
    assert [found.low, found.high] == pytest.approx([oracle.low, oracle.high], abs=0.02)
    assert found.mean - found.low < found.high - found.mean  # skewed as the values are


@pytest.mark.parametrize("shift", [-0.4, -0.05, 0.0, 0.1, 0.5])
def test_an_interval_excludes_0_just_where_the_p_value_is_below_5_percent(shift: float) -> None:
    _, estimate = skewed()
    moved = Bootstrapped(
        estimate.point - 1 + shift, estimate.resampled_R - 1 + shift, estimate.influences_J
    )
    interval = moved.interval()
    assert (interval.low > 0 or interval.high < 0) == (two_sided(moved) < 0.05)


def test_the_confidence_below_the_ends_of_an_interval_is_its_level() -> None:
    _, estimate = skewed()
    interval = estimate.interval(0.9)
    assert estimate.below(interval.low) == pytest.approx(0.05, abs=0.003)
    assert estimate.below(interval.high) == pytest.approx(0.95, abs=0.003)


def test_no_difference_has_p_1() -> None:
    nothing = Bootstrapped(0.0, np.zeros(100), np.zeros(10))
    assert two_sided(nothing) == 1
    assert two_sided(Normal(0.0, 0.0)) == 1


def test_beyond_the_resamples_the_tail_is_normal_and_no_thicker_than_they_allow() -> None:
    resampled = np.random.default_rng(0).normal(size=500)
    near, far = (Bootstrapped(x, x + resampled, np.zeros(5)) for x in (4.5, 8.0))
    assert two_sided(near) <= 1 / 500
    assert two_sided(far) == pytest.approx(2 * stats.norm.sf(8 / resampled.std()), rel=0.5)
    assert not_worse(far, 0.01) < 1e-12
    assert far.below(30) == pytest.approx(1)


@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.1, 3))
def test_the_confidence_below_a_value_grows_with_it(seed: int, shift: float, skew: float) -> None:
    rng = np.random.default_rng(seed)
    estimate = Bootstrapped(shift, rng.gamma(skew, size=200), rng.normal(size=9) ** 3)
    found = [estimate.below(value) for value in np.linspace(-5, 15, 101)]
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] <= 1


def test_resamples_without_a_meaning_are_left_out() -> None:
    resampled = np.append(np.linspace(0, 1, 999), np.nan)
    interval = Bootstrapped(0.5, resampled, np.zeros(3)).interval()
    assert (interval.low, interval.high) == (pytest.approx(0.025), pytest.approx(0.975))
    nothing = Bootstrapped(0.5, np.full(10, np.nan), np.zeros(3))
    assert nothing.interval().low == 0.5
    assert two_sided(nothing) == 1


def test_equivalence_is_two_one_sided_tests() -> None:
    estimate = Normal(0.002, 0.004)
    oracle = max(stats.norm.sf((0.002 + 0.01) / 0.004), stats.norm.cdf((0.002 - 0.01) / 0.004))
    assert equivalence(estimate, 0.01) == pytest.approx(oracle)
    assert equivalence(Normal(0.02, 0.001), 0.01) > 0.99
    assert equivalence(Normal(0.0, 0.1), 0.01) > 0.4  # too little is known


def test_not_worse_looks_at_one_side() -> None:
    assert not_worse(Normal(0.5, 0.01), 0.01) < 0.001
    assert not_worse(Normal(-0.02, 0.001), 0.01) > 0.999


def test_equivalence_is_claimed_wrongly_once_in_20_at_the_margin() -> None:
    rng = np.random.default_rng(0)
    found = [equivalence(Normal(0.01 + rng.normal() * 0.002, 0.002), 0.01) for _ in range(4000)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.012)


def test_a_contrast_is_made_resample_by_resample() -> None:
    _, one = skewed(0)
    _, other = skewed(1)
    found = contrast([(1, one), (-1, other)])
    assert found.point == pytest.approx(one.point - other.point)
    np.testing.assert_allclose(found.resampled_R, one.resampled_R - other.resampled_R)
    assert two_sided(contrast([(1, one), (-1, one)])) == 1


def test_the_error_of_a_mean_over_datasets_is_that_of_independent_ones() -> None:
    rng = np.random.default_rng(0)
    parts = [Bootstrapped(0.0, rng.normal(size=20_000), rng.normal(size=50)) for _ in range(4)]
    together = averaged(parts).interval()
    assert together.high - together.low == pytest.approx(2 * 1.96 / 2, rel=0.05)


def test_a_normal_estimate_has_the_normal_interval() -> None:
    interval = Normal(0.1, 0.05).interval()
    assert [interval.low, interval.high] == pytest.approx([0.1 - 0.098, 0.1 + 0.098], abs=1e-4)
    assert two_sided(Normal(0.098, 0.05)) == pytest.approx(0.05, abs=1e-3)
