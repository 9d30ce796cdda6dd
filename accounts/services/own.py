"""Change what belongs to a user alone, such as the time zone of their pages."""

from django.db import transaction

from tenants.models import Membership, User


@transaction.atomic
def change(*, user: User, name: str, time_zone: str, wants_report: bool | None) -> None:
    """Change the user's name, time zone, and whether they get reports of the current tenant.

    Args:
        time_zone: a name of the IANA database; "" for that of the browser.
        wants_report: whether the weekly report of the current tenant is mailed; None leaves it.
    """
    user.name, user.time_zone = name, time_zone
    user.save(update_fields=["name", "time_zone"])
    if wants_report is not None:
        memberships = Membership.objects.filter(user=user)
        memberships.update(wants_weekly_report=wants_report)
