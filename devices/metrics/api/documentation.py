"""What the OpenAPI document says of samples: made from the table that judges them."""

from typing import Any

from devices.metrics.measures import FIELDS, MEASURES, MOST_WORDS, Field
from devices.metrics.sample_validation import MOST_SAMPLES

_TIME = {
    "type": "string",
    "format": "date-time",
    "description": "By the device's clock; if it is left out, the server's time.",
}


def sample() -> dict[str, Any]:
    """The schema of one sample; every field may be left out or null."""
    recorded_at = {**_TIME, "type": ["string", "null"]}
    properties: dict[str, Any] = {"recorded_at": recorded_at}
    for field in FIELDS:
        if len(field.place) == 1:
            properties[field.place[0]] = _schema(field)
            continue
        group, name = field.place
        inside = properties.setdefault(
            group, {"type": ["object", "null"], "properties": {}}
        )
        inside["properties"][name] = _schema(field)
    return {
        "type": "object",
        "properties": properties,
        "description": "Fields that are not listed here are kept apart, as `extra`.",
    }


def body() -> dict[str, Any]:
    """The schema of what a device sends: one sample, several, or a batch."""
    several = {"type": "array", "items": sample(), "maxItems": MOST_SAMPLES}
    several["minItems"] = 1
    sent_at = {"type": ["string", "null"], "format": "date-time"}
    sent_at["description"] = "When it was sent, by the device's clock."
    batch = {
        "type": "object",
        "properties": {"samples": several, "sent_at": sent_at},
        "required": ["samples"],
        "additionalProperties": False,
    }
    return {"application/json": {"anyOf": [sample(), several, batch]}}


def sample_shown() -> dict[str, Any]:
    """The schema of a sample as it is told: with what was made of it."""
    shown: dict[str, Any] = sample()
    shown["properties"] |= {
        "received_at": {"type": "string", "format": "date-time"},
        "device_time": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "What the device's clock said, where it was wrong.",
        },
        "ram_usage": {"type": ["number", "null"], "description": "%"},
        "storage_usage": {"type": ["number", "null"], "description": "%"},
        "extra": {"type": ["object", "null"], "description": "Fields not known."},
    }
    shown["description"] = "One sample."
    return shown


def roll_ups_shown() -> dict[str, Any]:
    """The schema of a bucket: how many samples, and what each measure came to."""
    numbers = {
        name: {"type": ["number", "null"]}
        for name in ("average", "minimum", "maximum", "p95")
    }
    one = {
        "type": "object",
        "properties": {"count": {"type": "integer"}, **numbers},
    }
    measured = {
        measure.name: {**one, "description": f"{measure.label}, {measure.unit}"}
        for measure in MEASURES
    }
    return {
        "type": "object",
        "properties": {
            "starts_at": {"type": "string", "format": "date-time"},
            "samples": {"type": "integer"},
            "app_version": {"type": "string"},
            **measured,
        },
    }


def _schema(field: Field) -> dict[str, Any]:
    match field.kind:
        case "number" | "whole":
            bounds = {"minimum": field.least, "maximum": field.most}
            return {"type": ["number", "null"], **bounds, "description": field.unit}
        case "truth":
            return {"type": ["boolean", "null"]}
        case "word":
            return {"type": ["string", "null"], "maxLength": field.longest}
        case "words":
            word = {"type": "string", "maxLength": field.longest}
            return {"type": ["array", "null"], "items": word, "maxItems": MOST_WORDS}


def history() -> dict[str, Any]:
    """The schema of the answer about one device."""
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "properties": {
            "device_id": {"type": "string", "format": "uuid"},
            "latest": {"anyOf": [sample_shown(), {"type": "null"}]},
            "bucket": {"type": "string", "enum": ["raw", "hour", "day"]},
            "from": {"type": "string", "format": "date-time"},
            "to": {"type": "string", "format": "date-time"},
            "next": link,
            "previous": link,
            "results": {
                "type": "array",
                "items": {"anyOf": [sample_shown(), roll_ups_shown()]},
            },
        },
    }
