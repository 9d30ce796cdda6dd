"""Compare two OpenAPI documents: which changes break clients.

To make the present document the released one, after a new version in `docs/api-changelog.md`:

    .venv/bin/python -m provisioning.tests.api_compatibility
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provisioning.api.responses import operations

API = Path(__file__).parents[1] / "api"
RELEASED, CURRENT = API / "released.json", API / "openapi.json"
TEXTS = {"description", "summary", "example", "examples", "tags", "x-tagGroups", "servers"}
Schema = dict[str, Any]


def stripped(value: Any, *, names_are_fields: bool = False) -> Any:
    """Return a document without texts and examples. Fields may have the names of texts."""
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: stripped(item, names_are_fields=name in {"properties", "schemas"})
        for name, item in value.items()
        if names_are_fields or name not in TEXTS
    }


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return a sentence for each change that can break a client of the old document."""
    former, present = dict(operations(old)), dict(operations(new))
    sentences = [f"{name}: removed" for name in former if name not in present]
    for name in former.keys() & present.keys():
        if former[name]["operationId"] != present[name]["operationId"]:
            sentences.append(f"{name}: another operation id")
        before, after = _inputs(old, former[name]), _inputs(new, present[name])
        sentences += [f"{name}: {text}" for text in _broken_inputs(before, after)]
        before, after = _outputs(old, former[name]), _outputs(new, present[name])
        sentences += [f"{name}: {text}" for text in _broken_outputs(before, after)]
    return sorted(sentences)


def _broken_inputs(old: Schema, new: Schema) -> Iterator[str]:
    for field, before in old.items():
        after = new.get(field)
        if after is None:
            yield f"{field} is no longer accepted"
        elif before["type"] != after["type"]:
            yield f"{field} has the type {after['type']} instead of {before['type']}"
        elif after["enum"] and (not before["enum"] or before["enum"] - after["enum"]):
            yield f"{field} no longer accepts some values"
        elif before["nullable"] and not after["nullable"]:
            yield f"{field} must not be null any more"
    for field, after in new.items():
        if after["required"] and not old.get(field, {"required": False})["required"]:
            yield f"{field} is now required"


def _broken_outputs(old: Schema, new: Schema) -> Iterator[str]:
    for field, before in old.items():
        after = new.get(field)
        if after is None:
            yield f"{field} is no longer sent"
        elif before["type"] != after["type"]:
            yield f"{field} has the type {after['type']} instead of {before['type']}"
        elif after["nullable"] and not before["nullable"]:
            yield f"{field} may now be null"
        elif before["required"] and not after["required"]:
            yield f"{field} is no longer always sent"


def _inputs(whole: Schema, operation: Schema) -> Schema:
    """Return the parameters and the fields of the body, by their place."""
    found: Schema = {}
    for parameter in operation.get("parameters", []):
        place = f"{parameter['in']} {parameter['name']}"
        found[place] = _fact(parameter["schema"], required=parameter.get("required", False))
    body = operation.get("requestBody", {})
    for media_type, content in body.get("content", {}).items():
        required = body.get("required", False)
        found |= dict(_fields(whole, content["schema"], f"body {media_type}", required, ()))
    return found


def _outputs(whole: Schema, operation: Schema) -> Schema:
    """Return the statuses of success, and the fields of their bodies, by their place."""
    found: Schema = {}
    for status, response in operation["responses"].items():
        if "$ref" in response or not status.startswith("2"):
            continue
        found[status] = _fact({}, required=True)
        for media_type, content in response.get("content", {}).items():
            found |= dict(_fields(whole, content["schema"], f"{status} {media_type}", True, ()))
    return found


def _fields(
    whole: Schema, schema: Schema, place: str, required: bool, seen: tuple[str, ...]
) -> Iterator[tuple[str, Schema]]:
    """Yield each field of a schema. References are followed, but not in circles."""
    target = schema["allOf"][0] if "allOf" in schema else schema
    if reference := target.get("$ref", ""):
        if reference in seen:
            return
        seen = (*seen, reference)
        resolved = whole["components"]["schemas"][reference.rpartition("/")[2]]
        schema = {**resolved, "nullable": schema.get("nullable", False)}
    yield place, _fact(schema, required=required)
    always = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield from _fields(whole, field, f"{place}.{name}", name in always, seen)
    if "items" in schema:
        yield from _fields(whole, schema["items"], f"{place}[]", False, seen)


def _fact(schema: Schema, *, required: bool) -> Schema:
    return {
        "type": schema.get("type"),
        "enum": set(schema.get("enum", ())),
        "nullable": schema.get("nullable", False),
        "required": required,
    }


if __name__ == "__main__":
    released = stripped(json.loads(CURRENT.read_text()))
    RELEASED.write_text(json.dumps(released, separators=(",", ":"), sort_keys=True) + "\n")
