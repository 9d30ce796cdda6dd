"""Tests of the confidence bounds of failure rates."""

import pytest

from devices.updates.confidence import exceeds, lower_bound, upper_tail


@pytest.mark.parametrize(("failed", "tried"), [(1, 1), (1, 2), (0, 50), (3, 100)])
def test_few_failures_do_not_exceed_the_threshold(failed: int, tried: int) -> None:
    assert not exceeds(failed, tried, 0.03)


@pytest.mark.parametrize(("failed", "tried"), [(8, 100), (3, 3), (40_000, 1_000_000)])
def test_many_failures_exceed_the_threshold(failed: int, tried: int) -> None:
    assert exceeds(failed, tried, 0.03)


def test_the_lower_bound_matches_clopper_and_pearson() -> None:
    # From published tables of the two-sided 95 % interval.
    assert lower_bound(1, 2) == pytest.approx(0.0126, abs=1e-4)
    assert lower_bound(8, 100) == pytest.approx(0.0352, abs=1e-4)
    assert lower_bound(10, 10) == pytest.approx(0.6915, abs=1e-4)
    assert lower_bound(0, 10) == 0


def test_the_upper_tail_matches_the_binomial_distribution() -> None:
    assert upper_tail(1, 2, 0.5) == pytest.approx(0.75)
    assert upper_tail(3, 3, 0.1) == pytest.approx(0.001)
    assert upper_tail(1, 1, 0.0) == 0
    assert upper_tail(1, 1, 1.0) == 1
