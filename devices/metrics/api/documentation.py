"""OpenAPI schemas of samples and roll-ups, generated from the table of fields."""

from typing import Any

from core.rest.documentation import COMPONENT
from devices.metrics.measures import FIELDS, MAX_STRINGS, Field
from devices.metrics.sample_validation import MAX_SAMPLES

_TIME = {
    "type": "string",
    "format": "date-time",
    "description": "Time by the device's clock. If omitted, the server's time is used.",
}


def sample() -> dict[str, Any]:
    """Return the schema of one sample. Every field may be omitted or null."""
    recorded_at = {**_TIME, "type": ["string", "null"]}
    properties: dict[str, Any] = {"recorded_at": recorded_at}
    for field in FIELDS:
        if len(field.path) == 1:
            properties[field.path[0]] = _schema(field)
            continue
        group, name = field.path
        group_schema = properties.setdefault(group, {"type": ["object", "null"], "properties": {}})
        group_schema["properties"][name] = _schema(field)
    return {
        "type": "object",
        COMPONENT: "Sample",
        "properties": properties,
        "description": "Fields that are not listed here are stored in `extra`.",
    }


def body() -> dict[str, Any]:
    """Return the schema of a request body: a batch.

    A single sample and a list of samples are accepted too. They are not in the schema, because
    generated clients would have a class for each alternative.
    """
    samples = {"type": "array", "items": sample(), "maxItems": MAX_SAMPLES, "minItems": 1}
    sent_at = {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Time at which the batch was sent, by the device's clock.",
    }
    batch = {
        "type": "object",
        COMPONENT: "SampleBatch",
        "properties": {"samples": samples, "sent_at": sent_at},
        "required": ["samples"],
        "additionalProperties": False,
        "description": "A single sample, or a list of samples, is accepted as the body too.",
    }
    return {"application/json": batch}


def sample_response() -> dict[str, Any]:
    """Return the schema of a sample in a response, with the computed fields."""
    schema = sample()
    schema["properties"] |= {
        "received_at": {"type": "string", "format": "date-time"},
        "device_time": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "Original time by the device's clock, if the clock was wrong.",
        },
        "ram_usage": {"type": ["number", "null"], "description": "%"},
        "storage_usage": {"type": ["number", "null"], "description": "%"},
        "extra": {"type": ["object", "null"], "description": "Fields not in this schema."},
    }
    schema["description"] = "One sample."
    schema[COMPONENT] = "StoredSample"
    return schema


def _sample_or_roll_up() -> dict[str, Any]:
    """Return a schema without properties, which fits samples and roll-ups.

    A measure is a number in a sample and an object in a roll-up. Generated clients would have a
    class for each alternative.
    """
    return {
        "type": "object",
        "additionalProperties": {},
        "description": "A sample like `latest`. With `bucket=hour` or `bucket=day` it is a"
        " roll-up with `starts_at`, `samples`, `app_version`, and for each measure an object with"
        " `count`, `average`, `minimum`, `maximum` and `p95`.",
    }


def _schema(field: Field) -> dict[str, Any]:
    match field.kind:
        case "number" | "integer":
            bounds = {"minimum": field.minimum, "maximum": field.maximum}
            return {"type": ["number", "null"], **bounds, "description": field.unit}
        case "boolean":
            return {"type": ["boolean", "null"]}
        case "string":
            return {"type": ["string", "null"], "maxLength": field.max_length}
        case "strings":
            item = {"type": "string", "maxLength": field.max_length}
            return {"type": ["array", "null"], "items": item, "maxItems": MAX_STRINGS}


def history() -> dict[str, Any]:
    """Return the schema of the response with the metrics of one device."""
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        COMPONENT: "DeviceMetrics",
        "properties": {
            "device_id": {"type": "string", "format": "uuid"},
            "latest": {**sample_response(), "type": ["object", "null"]},
            "bucket": {"type": "string", "enum": ["raw", "hour", "day"]},
            "from": {"type": "string", "format": "date-time"},
            "to": {"type": "string", "format": "date-time"},
            "next": link,
            "previous": link,
            "results": {"type": "array", "items": _sample_or_roll_up()},
        },
    }
