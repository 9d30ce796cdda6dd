"""What members do to alerts."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from devices.monitoring.errors import AlertIsClosed, NoSuchAlert, NotAMember
from devices.monitoring.events import AlertAcknowledged, AlertAssigned, AlertCommented
from devices.monitoring.models import Alert, AlertComment
from devices.monitoring.services.alert_events import about, closed
from events.services.outbox import record
from tenants.context import current_caller
from tenants.models import Membership, User


@transaction.atomic
def acknowledge(*, alert_id: UUID, now: datetime) -> Alert:
    """Say that somebody has seen it; twice is once.

    Raises:
        NoSuchAlert, AlertIsClosed: there is nothing to acknowledge.
    """
    alert = _hold(alert_id)
    if alert.acknowledged_at is None:
        alert.acknowledged_at, alert.acknowledged_by = now, _caller()
        alert.save(update_fields=["acknowledged_at", "acknowledged_by"])
        record([AlertAcknowledged(**about(alert, now))])
    return alert


@transaction.atomic
def assign(*, alert_id: UUID, email: str | None, now: datetime) -> Alert:
    """Say which member sees to it; None takes it from whoever does.

    Raises:
        NoSuchAlert, AlertIsClosed: there is nothing to see to.
        NotAMember: nobody of this tenant has the address.
    """
    alert = _hold(alert_id)
    assignee = None if email is None else _member(email)
    before = alert.assignee.email if alert.assignee else None
    after = assignee.email if assignee else None
    if before != after:
        alert.assignee = assignee
        alert.save(update_fields=["assignee"])
        changes = {"assignee": (before, after)}
        record([AlertAssigned(**about(alert, now), changes=changes)])
    return alert


@transaction.atomic
def comment(*, alert_id: UUID, text: str, now: datetime) -> AlertComment:
    """Leave a word, also on one that is closed.

    Raises:
        NoSuchAlert: there is none.
    """
    alert = _hold(alert_id, even_closed=True)
    made: AlertComment = AlertComment.objects.create(
        alert=alert, author_name=current_caller().name, text=text, at=now
    )
    record([AlertCommented(**about(alert, now), text=text)])
    return made


@transaction.atomic
def close(*, alert_id: UUID, now: datetime) -> Alert:
    """Close it by hand; it is not opened again before its cause has gone and come.

    Raises:
        NoSuchAlert, AlertIsClosed: there is nothing to close.
    """
    alert = _hold(alert_id)
    alert.closed_at, alert.closing = now, Alert.Closing.BY_HAND
    alert.save(update_fields=["closed_at", "closing"])
    record([closed(alert, Alert.Closing.BY_HAND, now)])
    return alert


def _hold(alert_id: UUID, *, even_closed: bool = False) -> Alert:
    held = Alert.objects.select_for_update(of=("self",)).select_related("assignee")
    alert: Alert | None = held.filter(pk=alert_id).first()
    if alert is None:
        raise NoSuchAlert
    if alert.closed_at is not None and not even_closed:
        raise AlertIsClosed
    return alert


def _caller() -> User | None:
    caller = current_caller()
    if caller.kind != "member":
        return None
    found: User | None = User.objects.filter(pk=caller.id).first()
    return found


def _member(email: str) -> User:
    found = Membership.objects.select_related("user").filter(
        user__email=User.objects.normalize(email)
    )
    membership = found.first()
    if membership is None:
        raise NotAMember(f"{email} is no member of this tenant.", field="assignee")
    user: User = membership.user
    return user
