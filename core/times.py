"""Times in the responses of the API and on the pages of the portal."""

from datetime import UTC, datetime

from django.utils.timezone import localtime


def utc_text(moment: datetime) -> str:
    """Return a time as RFC 3339 writes it in UTC, such as `2030-01-31T12:00:00.5Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def local_text(moment: datetime) -> str:
    """Return a time in the user's time zone, in the format of all pages."""
    return f"{localtime(moment):%Y-%m-%d %H:%M}"
