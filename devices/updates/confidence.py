"""Confidence bounds of a binomial proportion (Clopper and Pearson, 1934). Pure functions."""

from math import exp, lgamma, log

CONFIDENCE = 0.95  # of the two-sided interval
RELATIVE_TOLERANCE = 1e-12  # smaller terms of a sum are ignored


def exceeds(failed: int, tried: int, share: float) -> bool:
    """Return True if the lower confidence bound of the failure rate is above `share`.

    The bound is exact for the binomial distribution. It is above `share` if `failed` or
    more failures would be improbable at a failure rate of `share`.

    Args:
        failed: number of failures.
        tried: number of trials.
        share: failure rate, from 0 to 1.
    """
    if failed <= share * tried:
        return False
    return upper_tail(failed, tried, share) < (1 - CONFIDENCE) / 2


def lower_bound(failed: int, tried: int) -> float:
    """Return the lower confidence bound of the failure rate, from 0 to 1."""
    if not failed:
        return 0.0
    low, high = 0.0, failed / tried
    for _ in range(50):
        middle = (low + high) / 2
        if exceeds(failed, tried, middle):
            low = middle
        else:
            high = middle
    return low


def upper_tail(failed: int, tried: int, share: float) -> float:
    """Return the probability of `failed` or more failures in `tried` trials.

    Args:
        failed: more than the mean, so that the terms of the sum decrease.
        share: probability of a single failure, from 0 to 1.
    """
    if share <= 0:
        return 0.0 if failed else 1.0
    if share >= 1:
        return 1.0
    term = exp(
        lgamma(tried + 1)
        - lgamma(failed + 1)
        - lgamma(tried - failed + 1)
        + failed * log(share)
        + (tried - failed) * log(1 - share)
    )
    total, odds = 0.0, share / (1 - share)
    for count in range(failed, tried + 1):
        total += term
        term *= odds * (tried - count) / (count + 1)
        if term < RELATIVE_TOLERANCE * total:
            break
    return min(1.0, total)
