"""Examples of bodies in the OpenAPI document, made from the schemas and `examples.toml`."""

import tomllib
from pathlib import Path
from typing import Any

from provisioning.api.responses import Schema, operations

TABLE = Path(__file__).with_name("examples.toml")
PREFIX = "#/components/schemas/"
JSON = ("application/json", "application/schema+json")
MAX_DEPTH = 6
FORMATS = {
    "date": "2026-11-30",
    "date-time": "2026-11-30T08:15:30Z",
    "email": "ada@example.com",
    "uri": "https://provisioning.example.com/",
    "uuid": "0192f0c1-a7c8-7b35-8f5e-3c1d5f0a9b21",
}
# By media type: bodies that are not JSON. Binary content has no example.
TEXTS = {
    "application/x-pem-file": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
    "application/pkcs10": "MIH…",
    "application/pkcs7-mime": "MIIB…",
    "application/csrattrs": "MAA=",
    "text/event-stream": "id: 42\ndata: \n\n",
}


class Examples:
    """Values that fit the schemas of a document."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self.schemas = components
        table = tomllib.loads(TABLE.read_text())
        self.fields: Schema = table["fields"]
        self.components: dict[str, Schema] = table["components"]
        self.whole: dict[str, Any] = table["whole"]

    def component(self, name: str, depth: int = 0) -> Any:
        """Return the example of a component."""
        if name in self.whole:
            return self.whole[name]
        given = self.components.get(name, {})
        return self.value(self.schemas[name], given=given, depth=depth)

    def value(self, schema: Schema, *, given: Schema | None = None, depth: int = 0) -> Any:
        """Return a value for a schema. `given` has values for fields of an object."""
        if "allOf" in schema:
            return self.value(schema["allOf"][0], depth=depth)
        if "$ref" in schema:
            return self.component(schema["$ref"].removeprefix(PREFIX), depth)
        match schema.get("type"):
            case "object" if schema.get("properties"):
                return self._object(schema, given or {}, depth)
            case "object":
                return {}
            case "array":
                return [] if depth > MAX_DEPTH else [self.value(schema["items"], depth=depth + 1)]
            case _:
                return _scalar(schema)

    def _object(self, schema: Schema, given: Schema, depth: int) -> Schema:
        return {
            name: given[name] if name in given else self._field(name, field, depth)
            for name, field in schema["properties"].items()
        }

    def _field(self, name: str, schema: Schema, depth: int) -> Any:
        usual = self.fields.get(name)
        if usual is not None and "enum" not in schema and _fits(usual, schema):
            return usual
        return self.value(schema, depth=depth + 1)


def _fits(value: Any, schema: Schema) -> bool:
    """Return whether a value has the type of a schema; the tests check the whole schema."""
    match schema.get("type"):
        case "string":
            return isinstance(value, str) and schema.get("format") in {None, "uuid"}
        case "integer":
            return isinstance(value, int)
        case "number":
            return isinstance(value, int | float)
        case "array":
            item: Schema = schema["items"]
            return isinstance(value, list) and all(_fits(each, item) for each in value)
        case "object":
            return isinstance(value, dict)
        case None:
            return not schema.keys() & {"$ref", "allOf"}
        case _:
            return False


def _scalar(schema: Schema) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum") or 1
        case "string":
            return FORMATS.get(schema.get("format", ""), "text")
        case _:
            return None


def add_examples(result: Schema, **_: Any) -> Schema:
    """Add an example to each body of an operation. A hook of drf-spectacular."""
    components = result["components"]
    examples = Examples(components["schemas"])
    named: dict[str, Schema] = {}
    bodies = [operation.get("requestBody", {}) for _name, operation in operations(result)]
    bodies += [
        response
        for _name, operation in operations(result)
        for response in operation["responses"].values()
    ]
    bodies += components["responses"].values()
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            _add(content, media_type, examples, named)
    components["examples"] = dict(sorted(named.items()))
    return result


def _add(content: Schema, media_type: str, examples: Examples, named: dict[str, Schema]) -> None:
    """Add an example to a body. Bodies with the same component share one."""
    schema = content["schema"]
    if media_type in TEXTS:
        content["example"] = TEXTS[media_type]
    elif media_type in JSON and "$ref" in schema:
        name = schema["$ref"].removeprefix(PREFIX)
        named[name] = {"value": examples.component(name)}
        content["examples"] = {"example": {"$ref": f"#/components/examples/{name}"}}
    elif media_type in JSON:
        content["example"] = examples.value(schema)
