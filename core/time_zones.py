"""The names of time zones."""

from functools import cache
from zoneinfo import available_timezones


@cache
def time_zones() -> frozenset[str]:
    """Return the names of time zones in the IANA database."""
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})
