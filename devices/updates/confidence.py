"""How sure one can be of a share after so many trials. Pure."""

from math import exp, lgamma, log

CONFIDENCE = 0.95  # of the interval of both sides (Clopper and Pearson, 1934)
ENOUGH = 1e-12  # of a sum, after which its terms do not count any more


def exceeds(failed: int, tried: int, share: float) -> bool:
    """Whether the lower bound of the share that fails is above `share`.

    The bound is the exact one for a binomial: it is above a share if so many failures
    or more would be a rarity at that share.

    Args:
        failed, tried: how many of how many.
        share: from 0 to 1.
    """
    if failed <= share * tried:
        return False
    return at_least(failed, tried, share) < (1 - CONFIDENCE) / 2


def lower_bound(failed: int, tried: int) -> float:
    """The lower end of the interval, from 0 to 1."""
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


def at_least(failed: int, tried: int, share: float) -> float:
    """The chance of so many failures or more, where each has the chance `share`.

    Args:
        failed: more than the mean, so that the terms fall from the first one on.
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
        if term < ENOUGH * total:
            break
    return min(1.0, total)
