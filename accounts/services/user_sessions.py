"""The sessions of users in the portal: list them, and sign them out."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.events import SignedOutEverywhere
from accounts.models import UserSession
from events.services.outbox import record
from tenants.models import User

SEEN_EVERY = timedelta(minutes=5)


def begin(*, user: User, address: str | None, browser: str, now: datetime) -> UserSession:
    return UserSession.objects.create(
        user=user, began_at=now, last_seen_at=now, address=address, browser=browser[:200]
    )


def is_signed_in(*, session_id: str, user: User, now: datetime) -> bool:
    """Return whether a session was not signed out. Store when it was last seen."""
    row = UserSession.objects.filter(pk=session_id, user=user).first()
    if row is not None and row.last_seen_at < now - SEEN_EVERY:
        UserSession.objects.filter(pk=row.pk).update(last_seen_at=now)
    return row is not None


def sign_out(*, user: User, session_id: UUID) -> None:
    """Sign out one session of the user."""
    UserSession.objects.filter(pk=session_id, user=user).delete()


@transaction.atomic
def sign_out_everywhere(*, user: User, but: str | None = None, now: datetime) -> int:
    """Sign out all sessions of the user, except one. Return their number."""
    rows = UserSession.objects.filter(user=user)
    count, _ = (rows.exclude(pk=but) if but else rows).delete()
    record([SignedOutEverywhere(tenant_id=None, at=now, email=user.email)])
    return count


def delete_old(*, before: datetime) -> int:
    """Delete sessions that were last seen before a time. Return their number."""
    return UserSession.objects.filter(last_seen_at__lt=before).delete()[0]
