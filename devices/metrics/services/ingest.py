"""Samples come in: judged, stored with all that is counted from them, acknowledged."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from devices.metrics.errors import InvalidTime, NoSamples, NotStored, TooManySamples
from devices.metrics.extension_points import sample_stored
from devices.metrics.queries import store
from devices.metrics.sample_validation import (
    MOST_SAMPLES,
    Clock,
    Fault,
    Judged,
    Row,
    Wrong,
    judge,
    moment,
    plausible,
)
from devices.metrics.services import partitions
from devices.registry.models import Device
from devices.registry.services import presence

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 6  # one, and five more
AGAIN = {"40P01", "40001", "55P03"}  # deadlock, serialization, a lock not to be had
AWAY = ("08", "57P")  # the connection is lost, or the server is on its way down or up
FULL = ("53", "25006", "58030")  # no disk, no memory, no connections; only to be read
NO_PARTITION = "23514"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the samples of one request."""

    stored: int
    repeated: int  # were there already
    corrected: int  # got our time, because the device's clock is wrong
    faults: list[Fault]


def ingest(
    *, device: Device, samples: list[Any], sent_at: Any = None, now: datetime
) -> Outcome:
    """Store the good samples of a request; it is a sign of life like `connect`.

    What is accepted is committed when this returns. Repeating it is harmless.

    Args:
        samples: objects as they came in JSON.
        sent_at: when the device sent them, by its own clock; or None.

    Raises:
        NoSamples, TooManySamples: there is nothing, or more than one request may have.
        InvalidTime: `sent_at` is none.
        NotStored: the database takes nothing now.
        NoSuchDevice: the device was retired a moment ago.
    """
    if not samples:
        raise NoSamples("There is no sample in it.", field="samples")
    if len(samples) > MOST_SAMPLES:
        raise TooManySamples(f"At most {MOST_SAMPLES:,} samples.", field="samples")
    sent = None if sent_at is None else _sent(sent_at, now)
    judged = judge(samples, sent_at=sent, clock=_clock(now))
    new = persistently(lambda: _store(device, judged, now)) if judged.rows else 0
    if new:
        _publish(device, max(judged.rows, key=_recorded_at))
    return Outcome(
        stored=new,
        repeated=len(judged.rows) - new,
        corrected=sum(row["device_time"] is not None for row in judged.rows),
        faults=judged.faults,
    )


def persistently(act: Callable[[], T]) -> T:
    """Do it, and again after a deadlock or a lost connection: up to five times more.

    Raises:
        NotStored: it did not help, or the database is full or read-only.
    """
    again = Retrying(
        retry=retry_if_exception(_is_passing),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.02, max=0.6),
        before_sleep=lambda _: connection.close_if_unusable_or_obsolete(),
        reraise=True,
    )
    try:
        return again(act)
    except (DatabaseError, InterfaceError) as error:
        if not (_is_passing(error) or _state_of(error).startswith(FULL)):
            raise
        logger.error("Samples were not stored: %s", error)
        raise NotStored("The samples cannot be stored now; keep them.") from error


def _publish(device: Device, newest: Row) -> None:
    """Call the extension point; the samples stay stored if a query of it fails."""
    for act in sample_stored:
        try:
            act(device, newest)
        except DatabaseError:
            logger.exception("A stored sample was not processed further")


def _store(device: Device, judged: Judged, now: datetime) -> int:
    try:
        return _store_whole(device, judged, now)
    except IntegrityError as error:
        if _state_of(error) != NO_PARTITION:
            raise
    partitions.make_for({row["recorded_at"] for row in judged.rows})
    return _store_whole(device, judged, now)


@transaction.atomic
def _store_whole(device: Device, judged: Judged, now: datetime) -> int:
    # First, so that no two requests of one device are stored at once.
    presence.heard(device=device, now=now)
    return store(
        judged.rows,
        device_id=device.pk,
        tenant_id=device.tenant_id,
        app_version=device.app_version,
        now=now,
    )


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = _state_of(error)
    return state in AGAIN or state.startswith(AWAY) or not state


def _state_of(error: BaseException) -> str:
    """PostgreSQL's five letters for what went wrong; none if it could not say it."""
    return getattr(error.__cause__, "pgcode", None) or ""


def _clock(now: datetime) -> Clock:
    return Clock(
        now=now,
        oldest=now - timedelta(days=settings.METRICS_RETENTION_DAYS),
        limit=timedelta(seconds=settings.METRICS_CLOCK_LIMIT_SECONDS),
    )


def _sent(said: Any, now: datetime) -> datetime:
    try:
        return plausible(moment(said, "sent_at"), "sent_at", now=now)
    except Wrong as wrong:
        raise InvalidTime(wrong.sentence, field="sent_at") from wrong


def _recorded_at(row: Row) -> Any:
    return row["recorded_at"]
