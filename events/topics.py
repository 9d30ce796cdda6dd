"""Names of Redis channels."""

from django.conf import settings


def page_updates_channel() -> str:
    """Return the Redis channel that notifies open portal pages of changes."""
    return f"{settings.KEY_PREFIX}live"
