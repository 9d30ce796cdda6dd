"""Topics of the messages between devices and the server.

The broker lets a device publish to `devices/<name>/up/…` and read `devices/<name>/down/…` only.
The name is the common name of its certificate, `Device-<id>`.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

UP = "devices/+/up/#"  # what the bridge subscribes to
CONNECT, METRICS, COMMANDS, GONE = "connect", "metrics", "commands", "gone"
ERRORS, WAKE = "errors", "wake"

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TOPIC = re.compile(
    rf"devices/Device-(?P<device>{_ID})/up/"
    rf"(?:(?P<kind>{CONNECT}|{METRICS}|{COMMANDS}|{GONE})|commands/(?P<command>{_ID})/answer)"
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a device as an HTTP request.

    Attributes:
        kind: the last part of the topic of the answer.
        method, path, query, body: of the request. The method is empty for a last will.
        wants_answer: whether a usual answer is sent to the device. An error always is.
    """

    device_id: UUID
    kind: str
    method: str
    path: str
    query: str
    body: bytes
    wants_answer: bool


def read_message(topic: str, payload: bytes) -> Message | None:
    """Return a device's message, or None if the topic is not one of its topics."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    device_id, command = UUID(match["device"]), match["command"]
    if command is not None:
        path = f"/devices/me/commands/{command}/answer"
        return Message(device_id, COMMANDS, "POST", path, "", payload, wants_answer=False)
    match match["kind"]:
        case "connect":
            return Message(device_id, CONNECT, "POST", "/devices/connect", "", payload, True)
        case "metrics":
            return Message(device_id, METRICS, "POST", "/devices/metrics", "", payload, False)
        case "commands":
            query = _query(payload)
            return Message(device_id, COMMANDS, "GET", "/devices/me/commands", query, b"", True)
    return Message(device_id, GONE, "", "", "", b"", wants_answer=False)


def down(device_id: UUID | str, kind: str) -> str:
    """Return the topic of a message to a device."""
    return f"devices/Device-{device_id}/down/{kind}"


def _query(payload: bytes) -> str:
    """Return the query of a request for commands: `after` and `keys`, if they are readable."""
    try:
        fields = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    query: dict[str, str] = {}
    if isinstance(fields.get("after"), int) and not isinstance(fields["after"], bool):
        query["after"] = str(fields["after"])
    if isinstance(fields.get("keys"), bool):
        query["keys"] = str(fields["keys"]).lower()
    return urlencode(query)
