"""Format events as signed webhook requests.

The receiver uses the channel's secret to compute the HMAC-SHA-256 of the timestamp, a dot
and the body. The receiver compares the result with the signatures in the header. For a day
after the secret was rotated, the header contains two signatures.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from events.models import Event

ID = "X-Webhook-Id"
TIMESTAMP = "X-Webhook-Timestamp"
SIGNATURE = "X-Webhook-Signature"  # v1=<hex>, v1=<hex>


def payload(event: Event, device_name: str, *, link: str | None) -> dict[str, Any]:
    """Return the JSON body of an event.

    Args:
        link: address of the portal page of the object that the event is about.
    """
    device = None
    if event.device_id is not None:
        device = {"id": str(event.device_id), "name": device_name}
    return {
        "id": event.public_id,
        "name": event.name,
        "at": event.at.isoformat(),
        "tenant": str(event.tenant_id),
        "device": device,
        "by": event.caller_name or event.caller_kind,
        "data": event.data,
        "changes": event.changes,
        "link": link,
    }


def signed_headers(
    body: bytes, *, message_id: str, secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """Return the headers of a request, with one signature per secret."""
    timestamp = str(int(now.timestamp()))
    signatures = [f"v1={signature(secret, timestamp, body)}" for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "provisioning",
        ID: message_id,
        TIMESTAMP: timestamp,
        SIGNATURE: ", ".join(signatures),
    }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body in hex: HMAC-SHA-256 (RFC 2104)."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, sha256).hexdigest()


def encode(body: dict[str, Any]) -> bytes:
    encoder = DjangoJSONEncoder(separators=(",", ":"), ensure_ascii=False)
    return encoder.encode(body).encode()
