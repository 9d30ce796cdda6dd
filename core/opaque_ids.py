"""Ids that reveal nothing about how many rows there are.

Rows of all tenants share one sequence, so a number would tell a tenant how busy the others
are. A number is encrypted with a Feistel network over 64 bits (Luby and Rackoff, 1988), whose
round function is HMAC-SHA-256.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import ClassVar, Self, TypeVar

from django.db import models

from core.encryption import derived_keys

ROUNDS = 6
HALF = 0xFFFFFFFF
MAX_KEY = 2**63 - 1  # of a BigAutoField


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


class PublicIdModel(models.Model):
    """A row whose primary key is a number of a sequence of all tenants."""

    public_id_purpose: ClassVar[str]

    class Meta:
        abstract = True

    @classmethod
    def public_id_of(cls, number: int) -> str:
        """Return the id outside the server of the row with this primary key."""
        return encode(number, purpose=cls.public_id_purpose)

    @classmethod
    def keys_of(cls, public_id: str) -> list[int]:
        """Return the primary keys that a row with this id may have, [] if it is malformed."""
        numbers = decode(public_id, purpose=cls.public_id_purpose)
        return [number for number in numbers if number <= MAX_KEY]

    @property
    def public_id(self) -> str:
        """The id outside the server."""
        return self.public_id_of(self.pk)


P = TypeVar("P", bound=PublicIdModel)


class PublicIdQuerySet(models.QuerySet[P]):
    """Queries for rows that are known by their public ids outside the server."""

    def with_public_ids(self, public_ids: Iterable[str]) -> Self:
        keys = [key for public_id in public_ids for key in self.model.keys_of(public_id)]
        return self.filter(pk__in=keys)


def _decode(value: int, key: bytes) -> int:
    left, right = value >> 32, value & HALF
    for index in reversed(range(ROUNDS)):
        left, right = right ^ _round(key, index, left), left
    return (left << 32) | right


def _round(key: bytes, index: int, half: int) -> int:
    digest = hmac.new(key, bytes([index]) + half.to_bytes(4, "big"), sha256).digest()
    return int.from_bytes(digest[:4], "big")
