"""Format events as webhook requests: CloudEvents 1.0, signed as in Standard Webhooks.

The body is a CloudEvent in structured JSON (CloudEvents JSON format 1.0, section 3). Three
headers authenticate it, as https://www.standardwebhooks.com/ specifies. For a day after the
secret was rotated, the header contains two signatures.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from events.models import Event

CONTENT_TYPE = "application/cloudevents+json"
SECRET_PREFIX = "whsec_"  # noqa: S105 # the beginning of secrets
ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"  # v1,<base64> v1,<base64>
DOCUMENT_PATH = "/asyncapi"  # the document that describes the events


def cloud_event(
    event: Event, device_name: str, *, tenant_slug: str, link: str | None
) -> dict[str, Any]:
    """Return an event as a CloudEvent.

    Args:
        link: address of the portal page of the object that the event is about.
    """
    device = None
    if event.device_id is not None:
        device = {"id": str(event.device_id), "name": device_name}
    return {
        "specversion": "1.0",
        "id": event.public_id,
        "source": f"{settings.PUBLIC_URL}/t/{tenant_slug}",
        "type": event.name,
        **({"subject": str(event.device_id)} if event.device_id else {}),
        "time": event.at.isoformat(),
        "datacontenttype": "application/json",
        "dataschema": f"{settings.PUBLIC_URL}{DOCUMENT_PATH}#/components/schemas/{event.name}.data",
        "tenant": str(event.tenant_id),
        "data": {
            "device": device,
            "by": event.caller_name or event.caller_kind,
            "details": event.data,
            "changes": event.changes,
            "link": link,
        },
    }


def signed_headers(
    body: bytes, *, message_id: str, secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """Return the headers of a request, with one signature per secret."""
    timestamp = str(int(now.timestamp()))
    signatures = [f"v1,{signature(secret, message_id, timestamp, body)}" for secret in secrets]
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "provisioning",
        ID: message_id,
        TIMESTAMP: timestamp,
        SIGNATURE: " ".join(signatures),
    }


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a message in base64: HMAC-SHA-256 (RFC 2104).

    Args:
        secret: `whsec_` and the key in base64. One without this beginning, which a process of
            release 1 has written, is the key itself.
    """
    is_encoded = secret.startswith(SECRET_PREFIX)
    key = b64decode(secret.removeprefix(SECRET_PREFIX)) if is_encoded else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return b64encode(hmac.digest(key, signed, sha256)).decode()


def encode(body: dict[str, Any]) -> bytes:
    encoder = DjangoJSONEncoder(separators=(",", ":"), ensure_ascii=False)
    return encoder.encode(body).encode()
