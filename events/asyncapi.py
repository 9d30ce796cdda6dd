"""The AsyncAPI 3.0 document of the events that webhooks receive.

It is derived from the classes of the events, as the OpenAPI document is from the serializers.
"""

import dataclasses
import types
from datetime import datetime
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from django.conf import settings

from events.domain_events import DomainEvent, data_fields
from events.event_classes import description_of, event_classes
from events.services.webhooks import CONTENT_TYPE, ID, SIGNATURE, TIMESTAMP

Schema = dict[str, Any]

BASE, BASE_DATA = "Event", "EventData"  # the schemas that all events share
HEADERS = "WebhookHeaders"
_TYPES: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
}


@cache
def asyncapi_document() -> dict[str, Any]:
    """Return the document: one channel for webhooks, and a message for each event."""
    names = list(webhook_events())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "provisioning: events",
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
            "description": (
                "Events that the server sends to webhooks: CloudEvents 1.0 in structured JSON,"
                " signed as in Standard Webhooks. Later versions may add fields and events."
            ),
            "tags": [{"name": "webhooks"}],
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "webhook": {
                "address": None,  # the URL that a member enters
                "title": "Webhook",
                "description": "A channel of the kind webhook, see `POST /channels`.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            }
        },
        "operations": {
            "sendEvent": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhook"},
                "summary": "Send an event.",
                "description": (
                    "The server sends the events that pass the filters of the channel, at least"
                    " once, and in order for each device."
                ),
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            }
        },
        "components": {
            "messages": {name: _message(name, kind) for name, kind in webhook_events().items()},
            "schemas": {
                BASE: _base_schema(),
                HEADERS: _header_schema(),
                BASE_DATA: _base_data_schema(),
                **{name: _schema(name, kind) for name, kind in webhook_events().items()},
                **{f"{name}.data": _data_schema(kind) for name, kind in webhook_events().items()},
            },
        },
    }


def webhook_events() -> dict[str, type[DomainEvent]]:
    """Return the classes of the events of tenants by name. Webhooks receive no others."""
    return {name: kind for name, kind in event_classes().items() if kind.has_tenant}


def details_schema(kind: type[DomainEvent]) -> Schema:
    """Return the JSON schema of the details of an event."""
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = data_fields(kind)
    required = [name for name in names if fields[name].default is dataclasses.MISSING]
    return {
        "type": "object",
        "properties": {name: _type_schema(hints[name]) for name in names},
        **({"required": required} if required else {}),
    }


def _message(name: str, kind: type[DomainEvent]) -> Schema:
    summary, _, rest = description_of(kind).partition("\n")
    return {
        "name": name,
        "title": name,
        "summary": summary,
        **({"description": rest.strip()} if rest.strip() else {}),
        "headers": {"$ref": f"#/components/schemas/{HEADERS}"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _schema(name: str, kind: type[DomainEvent]) -> Schema:
    data = {"$ref": f"#/components/schemas/{name}.data"}
    return {
        "allOf": [
            {"$ref": f"#/components/schemas/{BASE}"},
            {"type": "object", "properties": {"type": {"const": name}, "data": data}},
        ]
    }


def _data_schema(kind: type[DomainEvent]) -> Schema:
    """Return the schema of the data of an event, to which its `dataschema` leads."""
    details = {"type": "object", "properties": {"details": details_schema(kind)}}
    return {"allOf": [{"$ref": f"#/components/schemas/{BASE_DATA}"}, details]}


def _base_data_schema() -> Schema:
    text: Schema = {"type": "string"}
    device = {
        "type": ["object", "null"],
        "description": "The device that the event is about.",
        "properties": {"id": _TYPES[UUID], "name": text},
        "required": ["id", "name"],
    }
    changes = {
        "type": "object",
        "description": "Changed fields with their values before and after.",
        "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2},
    }
    data = {
        "device": device,
        "by": {**text, "description": "Who caused the event."},
        "details": {"type": "object"},
        "changes": changes,
        "link": {
            "type": ["string", "null"],
            "format": "uri",
            "description": "The portal page of the object that the event is about.",
        },
    }
    return {"type": "object", "properties": data, "required": list(data)}


def _base_schema() -> Schema:
    text: Schema = {"type": "string"}
    address = {"type": "string", "format": "uri"}
    properties = {
        "specversion": {"const": "1.0"},
        "id": {**text, "description": "Unique. The same in each attempt to send the event."},
        "source": {**address, "description": "The portal of the tenant."},
        "type": {**text, "description": "The name of the event."},
        "subject": {**text, "description": "The id of the device, if the event is about one."},
        "time": _TYPES[datetime],
        "datacontenttype": {"const": "application/json"},
        "dataschema": address,
        "tenant": {**_TYPES[UUID], "description": "The id of the tenant."},
        "data": {"$ref": f"#/components/schemas/{BASE_DATA}"},
    }
    required = [name for name in properties if name != "subject"]
    return {"type": "object", "properties": properties, "required": required}


def _header_schema() -> Schema:
    return {
        "type": "object",
        "properties": {
            ID: {"type": "string", "description": "The id of the event."},
            TIMESTAMP: {"type": "string", "description": "Seconds since 1970."},
            SIGNATURE: {
                "type": "string",
                "description": "One or two signatures: `v1,` and HMAC-SHA-256 in base64.",
            },
        },
        "required": [ID, TIMESTAMP, SIGNATURE],
    }


def _type_schema(hint: Any) -> Schema:
    if get_origin(hint) in (Union, types.UnionType):
        [inner] = [item for item in get_args(hint) if item is not type(None)]
        schema = _type_schema(inner)
        return {**schema, "type": [schema["type"], "null"]}
    if get_origin(hint) is list:
        [item] = get_args(hint)
        return {"type": "array", "items": _type_schema(item)}
    return _TYPES[hint]
