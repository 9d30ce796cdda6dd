"""Change what belongs to a user alone, such as the time zone of their pages."""

from tenants.models import User


def change(*, user: User, name: str, time_zone: str) -> None:
    """Change the user's name and time zone.

    Args:
        time_zone: a name of the IANA database; "" for that of the browser.
    """
    user.name, user.time_zone = name, time_zone
    user.save(update_fields=["name", "time_zone"])
