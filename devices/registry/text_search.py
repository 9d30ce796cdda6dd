"""Conditions with which a text finds devices."""

from functools import cache
from ipaddress import ip_address

from django.db import connection
from django.db.models import Q

from devices.registry.identifiers import end_of_mac_address, fold

LAST_CHARACTER = "\U0010ffff"
KINDS = ("serial_number", "android_id", "mac_address")
# Collations of databases in which a range has exactly the texts with the same beginning.
BYTEWISE = ("C", "POSIX", "C.UTF-8", "PG_C_UTF8")


def matches_identifier(text: str) -> Q:
    """Match identifiers that start with a text, and MAC addresses in any notation.

    A MAC address also matches its last digits, at least four.
    """
    condition = Q(value__startswith=fold(text))
    if (end := end_of_mac_address(text)) is not None:
        condition |= Q(kind="mac_address", value__startswith=_pairs(end))
        condition |= Q(kind="mac_address", value__endswith=end)
    return condition


def begins_with(text: str) -> list[Q]:
    """Return conditions that match as `matches_identifier`, the fastest first.

    With row-level security, PostgreSQL uses an index for comparisons of texts, but not for `LIKE`.
    """
    conditions = [_range(fold(text), KINDS)]
    if (end := end_of_mac_address(text)) is not None:
        conditions.append(_range(_pairs(end), ("mac_address",)))
        conditions.append(Q(kind="mac_address", value__endswith=end))
    return conditions


def has_address(text: str) -> Q:
    """Match devices with this IP address; none if the text is no address."""
    return Q(ip_address=str(ip_address(text))) if is_address(text) else Q(pk__in=())


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _range(start: str, kinds: tuple[str, ...]) -> Q:
    condition = Q(kind__in=kinds, value__startswith=start)
    if _is_bytewise():
        condition &= Q(value__gte=start, value__lt=start + LAST_CHARACTER)
    return condition


@cache
def _is_bytewise() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            # The column of the locale has another name in each of the last versions.
            "SELECT coalesce(row ->> 'datlocale', row ->> 'daticulocale', row ->> 'datcollate')"
            " FROM (SELECT to_jsonb(d) AS row FROM pg_database d"
            " WHERE datname = current_database()) AS current"
        )
        return cursor.fetchone()[0] in BYTEWISE


def _pairs(end: str) -> str:
    """Return digits of a MAC address as it would begin: `a8:b` for `a8b`."""
    digits = end.replace(":", "")
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))
