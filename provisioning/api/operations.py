"""Names, tags and summaries of the operations in the OpenAPI document, from `operations.toml`."""

import tomllib
from pathlib import Path
from typing import Any

from provisioning.api.responses import Schema, operations

# Their fields are all optional, but without any of them the device cannot be identified.
NEED_A_BODY = {"POST /devices", "POST /devices/auto-register", "POST /devices/pair"}
TABLE = Path(__file__).with_name("operations.toml")


class UnknownOperations(ValueError):
    """The code and `operations.toml` do not have the same operations."""


def name_operations(result: Schema, **_: Any) -> Schema:
    """Give each operation its id, tag and summary. A hook of drf-spectacular.

    Raises:
        UnknownOperations: an operation is not in the table, or no longer exists.
    """
    tags = tomllib.loads(TABLE.read_text())["tags"]
    table = {
        key: (tag["name"], name, summary)
        for tag in tags
        for key, name, summary in tag["operations"]
    }
    documented = dict(operations(result))
    if different := documented.keys() ^ table.keys():
        raise UnknownOperations(f"operations.toml and the code differ in {sorted(different)}.")
    for key, operation in documented.items():
        tag, operation["operationId"], operation["summary"] = table[key]
        operation["tags"] = [tag]
    result["tags"] = [{"name": tag["name"], "description": tag["description"]} for tag in tags]
    audiences = dict.fromkeys(tag["audience"] for tag in tags)
    result["x-tagGroups"] = [
        {"name": name, "tags": [tag["name"] for tag in tags if tag["audience"] == name]}
        for name in audiences
    ]
    return result


def require_bodies(result: Schema, **_: Any) -> Schema:
    """Mark the bodies without which a request is refused. A hook of drf-spectacular."""
    components = result["components"]["schemas"]
    for name, operation in operations(result):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            reference = content["schema"].get("$ref", "").rpartition("/")[2]
            schema = components.get(reference, content["schema"])
            is_file = schema.get("type") == "string"
            if schema.get("required") or is_file or name in NEED_A_BODY:
                operation["requestBody"]["required"] = True
    return result
