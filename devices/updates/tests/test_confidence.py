"""So few devices prove nothing; many do."""

import pytest

from devices.updates.confidence import exceeds, lower_bound, upper_tail


@pytest.mark.parametrize(("failed", "tried"), [(1, 1), (1, 2), (0, 50), (3, 100)])
def test_one_of_two_does_not_stop_a_rollout_in_which_three_percent_may_fail(
    failed: int, tried: int
) -> None:
    assert not exceeds(failed, tried, 0.03)


@pytest.mark.parametrize(("failed", "tried"), [(8, 100), (3, 3), (40_000, 1_000_000)])
def test_eight_of_a_hundred_do(failed: int, tried: int) -> None:
    assert exceeds(failed, tried, 0.03)


def test_the_lower_bound_is_that_of_clopper_and_pearson() -> None:
    # From the tables: 95 % on both sides.
    assert lower_bound(1, 2) == pytest.approx(0.0126, abs=1e-4)
    assert lower_bound(8, 100) == pytest.approx(0.0352, abs=1e-4)
    assert lower_bound(10, 10) == pytest.approx(0.6915, abs=1e-4)
    assert lower_bound(0, 10) == 0


def test_the_chance_of_so_many_failures_is_that_of_the_binomial() -> None:
    assert upper_tail(1, 2, 0.5) == pytest.approx(0.75)
    assert upper_tail(3, 3, 0.1) == pytest.approx(0.001)
    assert upper_tail(1, 1, 0.0) == 0
    assert upper_tail(1, 1, 1.0) == 1
