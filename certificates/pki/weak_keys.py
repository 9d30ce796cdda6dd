"""RSA keys that look well and are not: known flaws of the machines that made them."""

from functools import cache
from math import gcd, isqrt, prod

_ROUNDS = 100  # of Fermat's search; primes that a careless search chose fall in a few


def flaw(modulus: int) -> str | None:
    """What is wrong with an RSA modulus, as far as it can be told from outside.

    Sources: ROCA, CVE-2017-15361 (Nemec et al., CCS 2017, §3: a prime of the library
    is a power of 65537 modulo every small prime, so the modulus is one too); primes
    too close to each other, CVE-2022-26320; and a modulus with a small factor.
    """
    if gcd(modulus, prod(_small_primes(752))) != 1:
        return "its modulus has a small factor"
    if all(modulus % prime in _powers(prime) for prime in _small_primes(168)[1:]):
        return "it was made by a library with the ROCA flaw (CVE-2017-15361)"
    if _close_primes(modulus):
        return "its primes are too close to each other (CVE-2022-26320)"
    return None


def _close_primes(modulus: int) -> bool:
    """Fermat's factorisation: n = a² - b² = (a - b)(a + b), with a just above √n."""
    a = isqrt(modulus - 1) + 1
    square = a * a - modulus
    for _ in range(_ROUNDS):
        root = isqrt(square)
        if root * root == square:
            return True
        square += 2 * a + 1
        a += 1
    return False


@cache
def _powers(prime: int) -> frozenset[int]:
    """The remainders that powers of 65537 leave."""
    found, power = set(), 1
    while power not in found:
        found.add(power)
        power = power * 65537 % prime
    return frozenset(found)


@cache
def _small_primes(limit: int) -> tuple[int, ...]:
    return tuple(
        n for n in range(2, limit) if all(n % d for d in range(2, isqrt(n) + 1))
    )
