"""Validate and store the samples of a device's request."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

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
    stop_after_delay,
    wait_random_exponential,
)

from core.database_errors import is_unavailable, sqlstate
from devices.metrics.errors import NoSamples, SamplesNotStored, TooManySamples
from devices.metrics.extension_points import sample_stored
from devices.metrics.queries import store
from devices.metrics.sample_validation import (
    MAX_SAMPLES,
    Clock,
    Fault,
    ValidationResult,
    validate_samples,
)
from devices.metrics.sample_values import Row, parse_time
from devices.metrics.services import partitions
from devices.registry.models import Device
from devices.registry.services import presence

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 6
MAX_SECONDS = 3.0  # after which no further attempt is made
# SQLSTATE codes (see `core.database_errors`). The tuple contains prefixes of codes.
RETRYABLE_STATES = {"40P01", "40001", "55P03"}  # deadlock, serialization, lock timeout
CONNECTION_STATES = ("08", "57P")  # connection lost; server shutting down or starting
NO_PARTITION = "23514"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many samples of one request were stored, and what was not usable."""

    stored: int
    repeated: int  # already stored by an earlier request
    corrected: int  # moved to the server's time because the device's clock is wrong
    faults: list[Fault]  # of the samples that were not stored
    ignored: list[Fault]  # of values in the stored samples


def ingest(*, device: Device, samples: list[Any], sent_at: Any = None, now: datetime) -> Outcome:
    """Store the valid samples of a request and mark the device as seen.

    Accepted samples are committed when the function returns. Repeating a request has no
    further effect.

    Args:
        samples: objects decoded from JSON.
        sent_at: the time at which the device sent the samples, by its own clock; a value
            decoded from JSON, or None if unknown. A value that is no time counts as unknown.

    Raises:
        NoSamples: the list is empty.
        TooManySamples: the list is longer than `MAX_SAMPLES`.
        SamplesNotStored: the database cannot store samples now.
        DeviceNotFound: the device was retired in the meantime.
    """
    if not samples:
        raise NoSamples("At least one sample is required.", field="samples")
    if len(samples) > MAX_SAMPLES:
        raise TooManySamples(
            f"A request may have at most {MAX_SAMPLES:,} samples.", field="samples"
        )
    result = validate_samples(samples, sent_at=parse_time(sent_at), clock=server_clock(now))
    stored = with_retries(lambda: _store(device, result, now)) if result.rows else 0
    if stored:
        assert device.tenant_id is not None
        note_stored(device.tenant_id, device.pk, max(result.rows, key=_recorded_at))
    return Outcome(
        stored=stored,
        repeated=len(result.rows) - stored,
        corrected=sum(row["device_time"] is not None for row in result.rows),
        faults=result.faults,
        ignored=result.ignored,
    )


def with_retries(act: Callable[[], T]) -> T:
    """Call a function, and repeat it after a deadlock or a lost connection.

    Raises:
        SamplesNotStored: all attempts failed, or the database is full or read-only.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(MAX_ATTEMPTS) | stop_after_delay(MAX_SECONDS),
        wait=wait_random_exponential(multiplier=0.02, max=0.6),
        before_sleep=lambda _: connection.close_if_unusable_or_obsolete(),
        reraise=True,
    )
    try:
        return retrying(act)
    except (DatabaseError, InterfaceError) as error:
        if not is_unavailable(error):
            raise
        raise SamplesNotStored(
            "The samples cannot be stored now. Keep them and send them again later."
        ) from error


def note_stored(tenant_id: UUID, device_id: UUID, newest: Row) -> None:
    """Call the subscribers to stored samples. If they fail, the samples stay stored."""
    for subscriber in sample_stored:
        try:
            subscriber(tenant_id, device_id, newest)
        except DatabaseError:
            logger.exception("A subscriber failed to process a stored sample")


def _store(device: Device, result: ValidationResult, now: datetime) -> int:
    try:
        return _store_in_transaction(device, result, now)
    except IntegrityError as error:
        if sqlstate(error) != NO_PARTITION:
            raise
    partitions.create_for({row["recorded_at"] for row in result.rows})
    return _store_in_transaction(device, result, now)


@transaction.atomic
def _store_in_transaction(device: Device, result: ValidationResult, now: datetime) -> int:
    # This call locks the device row, so requests of one device are stored one by one.
    presence.record_sign_of_life(device=device, now=now)
    return store(result.rows, device_id=device.pk, tenant_id=device.tenant_id, now=now)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = sqlstate(error)
    return state in RETRYABLE_STATES or state.startswith(CONNECTION_STATES) or not state


def server_clock(now: datetime) -> Clock:
    """Return the limits for the times of samples that arrive now."""
    return Clock(
        now=now,
        oldest=now - timedelta(days=settings.METRICS_RETENTION_DAYS),
        limit=timedelta(seconds=settings.METRICS_CLOCK_LIMIT_SECONDS),
    )


def _recorded_at(row: Row) -> Any:
    return row["recorded_at"]
