"""Acknowledge, assign, comment and close alerts on behalf of members."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.monitoring.errors import AlertIsClosed, NoSuchAlert, NotAMember
from devices.monitoring.events import AlertAcknowledged, AlertAssigned, AlertCommented
from devices.monitoring.models import Alert, AlertComment, AlertQuerySet
from devices.monitoring.services.alert_events import closed_event, event_fields
from events.services.outbox import record
from tenants.context import current_caller
from tenants.models import Membership, User


@transaction.atomic
def acknowledge(*, alert_id: UUID, now: datetime) -> Alert:
    """Mark an alert as acknowledged by the caller. A repeated call has no effect.

    Raises:
        NoSuchAlert: there is no such alert.
        AlertIsClosed: the alert is closed.
    """
    alert = _lock_alert(alert_id)
    if alert.acknowledged_at is None:
        alert.acknowledged_at, alert.acknowledged_by = now, _caller()
        alert.save(update_fields=["acknowledged_at", "acknowledged_by"])
        record([AlertAcknowledged(**event_fields(alert, now))])
    return alert


@transaction.atomic
def acknowledge_batch(alert_ids: Collection[UUID], *, now: datetime) -> int:
    """Mark open alerts of the current tenant as acknowledged. Return how many were changed."""
    rows = list(_lock_open(alert_ids).filter(acknowledged_at=None))
    ids = [row.pk for row in rows]
    Alert.objects.filter(pk__in=ids).update(acknowledged_at=now, acknowledged_by=_caller())
    record([AlertAcknowledged(**event_fields(row, now)) for row in rows])
    return len(rows)


@transaction.atomic
def close_batch(alert_ids: Collection[UUID], *, now: datetime) -> int:
    """Close open alerts of the current tenant, see `close`. Return how many were changed."""
    rows = list(_lock_open(alert_ids))
    closing = Alert.Closing.BY_HAND
    Alert.objects.filter(pk__in=[row.pk for row in rows]).update(
        closed_at=now, closing=closing, closed_by=_caller()
    )
    record([closed_event(row, closing, now) for row in rows])
    return len(rows)


@transaction.atomic
def assign(*, alert_id: UUID, email: str | None, now: datetime) -> Alert:
    """Assign an alert to a member.

    Args:
        email: the member's address; None removes the assignee.

    Raises:
        NoSuchAlert: there is no such alert.
        AlertIsClosed: the alert is closed.
        NotAMember: no member of this tenant has the address.
    """
    alert = _lock_alert(alert_id)
    assignee = None if email is None else _member(email)
    before = alert.assignee.email if alert.assignee else None
    after = assignee.email if assignee else None
    if before != after:
        alert.assignee = assignee
        alert.save(update_fields=["assignee"])
        changes = {"assignee": (before, after)}
        record([AlertAssigned(**event_fields(alert, now), changes=changes)])
    return alert


@transaction.atomic
def comment(*, alert_id: UUID, text: str, now: datetime) -> AlertComment:
    """Add a comment to an alert. Closed alerts can have comments too.

    Raises:
        NoSuchAlert: there is no such alert.
    """
    alert = _lock_alert(alert_id, allow_closed=True)
    new_comment = AlertComment.objects.create(
        alert=alert, author_name=current_caller().name, text=text, at=now
    )
    record([AlertCommented(**event_fields(alert, now), text=text)])
    return new_comment


@transaction.atomic
def close(*, alert_id: UUID, now: datetime) -> Alert:
    """Close an alert on behalf of a member.

    The rule does not open another alert for the device until the cause has gone and
    occurs again.

    Raises:
        NoSuchAlert: there is no such alert.
        AlertIsClosed: the alert is closed already.
    """
    alert = _lock_alert(alert_id)
    alert.closed_at, alert.closing, alert.closed_by = now, Alert.Closing.BY_HAND, _caller()
    alert.save(update_fields=["closed_at", "closing", "closed_by"])
    record([closed_event(alert, Alert.Closing.BY_HAND, now)])
    return alert


def _lock_alert(alert_id: UUID, *, allow_closed: bool = False) -> Alert:
    queryset = Alert.objects.select_for_update(of=("self",)).select_related("assignee")
    alert = first_or_raise(queryset.filter(pk=alert_id), NoSuchAlert)
    if alert.closed_at is not None and not allow_closed:
        raise AlertIsClosed
    return alert


def _lock_open(alert_ids: Collection[UUID]) -> AlertQuerySet:
    """Return open alerts, which are locked in the order of their ids when they are read."""
    rows: AlertQuerySet = Alert.objects.open().filter(pk__in=alert_ids)
    return rows.select_for_update(of=("self",)).order_by("pk")


def _caller() -> User | None:
    caller = current_caller()
    if caller.kind != "member":
        return None
    return User.objects.filter(pk=caller.id).first()


def _member(email: str) -> User:
    membership = first_or_raise(
        Membership.objects.select_related("user").filter(user__email=User.objects.normalize(email)),
        NotAMember(f"{email} is not a member of this tenant.", field="assignee"),
    )
    return membership.user
