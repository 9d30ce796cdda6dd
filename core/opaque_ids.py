"""Ids that reveal nothing about how many rows there are.

Rows of all tenants share one sequence, so a number would tell a tenant how busy the others
are. A number is encrypted with a Feistel network over 64 bits (Luby and Rackoff, 1988), whose
round function is HMAC-SHA-256.
"""

import hmac
from hashlib import sha256

from core.encryption import derived_keys

ROUNDS = 6
HALF = 0xFFFFFFFF


def encode(number: int, *, purpose: str) -> str:
    """Return the opaque id of a number from 0 to 2^64 - 1: 16 hexadecimal digits."""
    key = derived_keys(purpose)[0]
    left, right = number >> 32, number & HALF
    for index in range(ROUNDS):
        left, right = right, left ^ _round(key, index, right)
    return f"{left:08x}{right:08x}"


def decode(text: str, *, purpose: str) -> list[int]:
    """Return the numbers that an opaque id may have, one for each key, or [] if it is malformed.

    After a rotation of `SECRET_KEY`, an id may have been made with a former key.
    """
    if len(text) != 16 or not text.isascii():
        return []
    try:
        value = int(text, 16)
    except ValueError:
        return []
    return [_decode(value, key) for key in derived_keys(purpose)]


def _decode(value: int, key: bytes) -> int:
    left, right = value >> 32, value & HALF
    for index in reversed(range(ROUNDS)):
        left, right = right ^ _round(key, index, left), left
    return (left << 32) | right


def _round(key: bytes, index: int, half: int) -> int:
    digest = hmac.new(key, bytes([index]) + half.to_bytes(4, "big"), sha256).digest()
    return int.from_bytes(digest[:4], "big")
