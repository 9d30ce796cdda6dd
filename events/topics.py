"""Where in Redis the hints for open pages are."""

from django.conf import settings


def live() -> str:
    """The channel of the hints that something has changed."""
    return f"{settings.KEY_PREFIX}live"
