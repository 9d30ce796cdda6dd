"""Write the OpenAPI document so that generators of clients can use it.

Generators turn `oneOf` and `anyOf` into wrapper classes, or fail. Most of them only say that a
value may be null or empty, for which there are plain types. A title of a nested schema becomes
the name of a class, so there are none.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]
METHODS = ("get", "head", "post", "put", "patch", "delete")
MUTUAL_TLS = "clientCertificate"
ALTERNATIVES = ("oneOf", "anyOf")
NULL, BLANK = "#/components/schemas/NullEnum", "#/components/schemas/BlankEnum"


def simplify(result: Schema, **_: Any) -> Schema:
    """Simplify the schemas and name the operations. A hook of drf-spectacular."""
    components: Schema = result["components"]["schemas"]
    _drop_mutual_tls(result)
    for reference in (NULL, BLANK):
        components.pop(reference.rpartition("/")[2], None)
    for name, schema in components.items():
        components[name] = _simplified(schema, components)
    result["paths"] = _simplified(result["paths"], components)
    for path in result["paths"].values():
        for method in path.keys() & set(METHODS):
            path[method]["operationId"] = camel_case(path[method]["operationId"])
    return result


def _drop_mutual_tls(result: Schema) -> None:
    """Drop the client certificate, which OpenAPI 3.0 does not know, as a security scheme."""
    result["components"]["securitySchemes"].pop(MUTUAL_TLS)
    for path in result["paths"].values():
        for method in path.keys() & set(METHODS):
            if security := path[method].get("security"):
                path[method]["security"] = [item for item in security if MUTUAL_TLS not in item]


def camel_case(name: str) -> str:
    """Return `devicesConnectCreate` for `devices_connect_create`."""
    first, *others = re.findall("[A-Za-z0-9]+", name)
    return first + "".join(word[0].upper() + word[1:] for word in others)


def _simplified(value: Any, components: Mapping[str, Schema]) -> Any:
    if isinstance(value, list):
        return [_simplified(item, components) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {name: _simplified(item, components) for name, item in value.items()}
    schema.pop("propertyNames", None)  # not in OpenAPI 3.0
    if isinstance(schema.get("default"), dict) and "type" in schema:
        del schema["default"]  # the description of the API says what is stored
    if isinstance(schema.get("title"), str) and "version" not in schema:
        del schema["title"]
    if isinstance(schema.get("type"), list):
        types = [name for name in schema["type"] if name != "null"]
        if len(types) < len(schema["type"]):
            schema["nullable"] = True
        schema["type"] = types[0]
    for keyword in ALTERNATIVES:
        if isinstance(schema.get(keyword), list):
            schema = _without_alternatives(schema, keyword, components)
    return schema


def _without_alternatives(schema: Schema, keyword: str, components: Mapping[str, Schema]) -> Schema:
    """Replace alternatives that only say that a value may be null or empty."""
    alternatives: list[Schema] = schema[keyword]
    is_nullable = any(_is_null(item) for item in alternatives)
    may_be_blank = any(_is_blank(item) for item in alternatives)
    values = [item for item in alternatives if not (_is_null(item) or _is_blank(item))]
    if {} in values or _are_plain_texts(values):
        values = [{"type": "string"}] if _are_plain_texts(values) else []
    if len(values) > 1:
        return schema
    others = {name: item for name, item in schema.items() if name != keyword}
    if is_nullable:
        others["nullable"] = True
    if not values:
        return others
    (value,) = values
    if may_be_blank:
        value = _or_blank(value, components)
    return {"allOf": [value], **others} if "$ref" in value else {**value, **others}


def _is_null(schema: Schema) -> bool:
    return schema.get("$ref") == NULL or schema.get("type") == "null"


def _is_blank(schema: Schema) -> bool:
    return schema.get("$ref") == BLANK or schema.get("maxLength") == 0


def _are_plain_texts(schemas: Iterable[Schema]) -> bool:
    """Return True for alternatives that differ in their format only, such as IPv4 and IPv6."""
    return all(schema.keys() <= {"type", "format"} and "format" in schema for schema in schemas)


def _or_blank(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
        return {"type": "string", "enum": [*schema["enum"], ""]}
    pattern = {"pattern": f"^$|{schema['pattern']}"} if "pattern" in schema else {}
    return {name: item for name, item in schema.items() if name != "minLength"} | pattern
