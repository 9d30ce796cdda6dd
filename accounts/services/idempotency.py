"""Answer a repeated request of a member with the first response, instead of doing it twice.

The client names a request with the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-
header). The request runs in the transaction that stores its response, so both exist or neither
does, even if the server is killed. While it runs, the row of the key is locked.

Some requests run transactions of their own, such as those that issue certificates. If the server
stops between these, nobody knows how far the request came. Then it is not repeated either.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, transaction

from accounts.errors import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    OutcomeUnknown,
    RequestInProgress,
)
from accounts.models import IdempotentRequest
from core.encryption import decrypt, encrypt
from tenants.models import ApiToken

KEPT = timedelta(hours=24)
LONGEST_REQUEST = timedelta(minutes=2)
MAX_KEY = 255  # characters
MAX_RESPONSE = 1_000_000  # bytes
PURPOSE = "responses to idempotent requests"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response of the API as it was sent."""

    status: int
    content: bytes
    content_type: str


def respond(
    *,
    token: ApiToken,
    key: str,
    fingerprint: bytes,
    run: Callable[[], Any],
    in_transaction: bool,
    now: datetime,
) -> tuple[Any, StoredResponse | None]:
    """Run a request, or return the response to its first run.

    Args:
        token: the credential of the member. Keys of different tokens are independent.
        fingerprint: distinguishes requests: method, address and body.
        run: returns the rendered Django response. Responses with an error are not stored.
        in_transaction: whether the request can run in one transaction.

    Returns:
        The new response and None, or None and the stored response.

    Raises:
        InvalidIdempotencyKey: the key is blank or too long.
        IdempotencyKeyReused: another request had the key.
        RequestInProgress: the first request with the key has not ended.
        OutcomeUnknown: the first request was interrupted, and it is not known how far it came.
    """
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise InvalidIdempotencyKey
    digest = hashlib.sha256(key.encode()).hexdigest()
    row, is_new = IdempotentRequest.objects.get_or_create(
        token=token,
        key_digest=digest,
        defaults={"fingerprint": hashlib.sha256(fingerprint).hexdigest(), "started_at": now},
    )
    if row.fingerprint != hashlib.sha256(fingerprint).hexdigest():
        raise IdempotencyKeyReused
    if row.status is not None:
        return None, _stored(row)
    if in_transaction:
        return _in_transaction(row, run)
    if not is_new:
        raise RequestInProgress if now - row.started_at < LONGEST_REQUEST else OutcomeUnknown
    response = run()
    _store(row, response)
    return response, None


def delete_old(*, now: datetime) -> int:
    """Delete the responses of all tenants that are too old. Return their number."""
    return IdempotentRequest.every_tenant.filter(started_at__lt=now - KEPT).delete()[0]


def _in_transaction(
    row: IdempotentRequest, run: Callable[[], Any]
) -> tuple[Any, StoredResponse | None]:
    with transaction.atomic():
        try:
            locked = IdempotentRequest.objects.select_for_update(nowait=True).filter(pk=row.pk)
            current = locked.first()
        except OperationalError as error:  # the row is locked
            raise RequestInProgress from error
        if current is None:
            raise RequestInProgress  # the first request has just ended with an error
        if current.status is not None:
            return None, _stored(current)
        response = run()
        _store(current, response)
        return response, None


def _store(row: IdempotentRequest, response: Any) -> None:
    """Store a response. Without one, the key can be used again."""
    if response.status_code >= 500:  # the transaction may be unusable
        if transaction.get_connection().in_atomic_block:
            transaction.set_rollback(True)
        return
    content = b"" if response.streaming else bytes(response.content)
    if response.status_code >= 400 or response.streaming or len(content) > MAX_RESPONSE:
        row.delete()
        return
    row.status = response.status_code
    row.content = encrypt(content.decode(), purpose=PURPOSE)
    row.content_type = response.get("Content-Type", "")
    row.save(update_fields=["status", "content", "content_type"])


def _stored(row: IdempotentRequest) -> StoredResponse:
    assert row.status is not None
    content = decrypt(row.content, purpose=PURPOSE).encode()
    return StoredResponse(row.status, content, row.content_type)
