"""Times in the responses of the API."""

from datetime import UTC, datetime


def utc_text(moment: datetime) -> str:
    """Return a time as RFC 3339 writes it in UTC, such as `2030-01-31T12:00:00.5Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
