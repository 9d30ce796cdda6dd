"""Write the OpenAPI document so that generators of clients can use it.

Generators turn `oneOf` and `anyOf` into wrapper classes, or fail. Most of them only say that a
value may be null or empty, for which there are plain types. A title of a nested schema becomes
the name of a class, so there are none.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.rest.documentation import COMPONENT
from provisioning.api.responses import Schema, operations

MUTUAL_TLS = "clientCertificate"
ALTERNATIVES = ("oneOf", "anyOf")
PREFIX = "#/components/schemas/"
NULL, BLANK = f"{PREFIX}NullEnum", f"{PREFIX}BlankEnum"


def simplify(result: Schema, **_: Any) -> Schema:
    """Simplify the schemas, and name those without a serializer. A hook of drf-spectacular."""
    components: dict[str, Schema] = result["components"]["schemas"]
    _drop_mutual_tls(result)
    for reference in (NULL, BLANK):
        components.pop(reference.rpartition("/")[2], None)
    for name, schema in components.items():
        components[name] = _simplified(schema, components)
    result["paths"] = _simplified(result["paths"], components)
    named: dict[str, Schema] = {}
    for part in (components, result["paths"]):
        part.update(_with_references(part, named))
    components |= named
    for part in (components, result["paths"]):
        part.update(_with_null(part, dict(components)))
    _drop_unused(result)
    return _with_plain_names(result)


def _drop_mutual_tls(result: Schema) -> None:
    """Drop the client certificate, which OpenAPI 3.0 does not know, as a security scheme."""
    result["components"]["securitySchemes"].pop(MUTUAL_TLS)
    for _name, operation in operations(result):
        if security := operation.get("security"):
            operation["security"] = [item for item in security if MUTUAL_TLS not in item]


def _with_references(value: Any, named: dict[str, Schema]) -> Any:
    """Replace each schema that has a name by a reference, and add the schema to `named`."""
    if isinstance(value, list):
        return [_with_references(item, named) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {name: _with_references(item, named) for name, item in value.items()}
    name = schema.pop(COMPONENT, None)
    if name is None:
        return schema
    is_nullable = schema.pop("nullable", False)
    named[name] = schema
    reference = {"$ref": PREFIX + name}
    return {"allOf": [reference], "nullable": True} if is_nullable else reference


def _drop_unused(result: Schema) -> None:
    """Drop the components that nothing refers to, such as enums that may also be empty."""
    components: dict[str, Schema] = result["components"]["schemas"]
    while unused := components.keys() - set(_references(result)):
        for name in unused:
            del components[name]


def _references(value: Any) -> Iterator[str]:
    """Yield the names of the components that a part of the document refers to."""
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.removeprefix(PREFIX)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


def _with_plain_names(result: Schema) -> Schema:
    """Name `SiteFieldsRequest` `SiteRequest`, and `BundleRequestRequest` `BundleRequest`."""
    components: dict[str, Schema] = result["components"]["schemas"]
    names = {name: re.sub("(Fields|Request)Request$", "Request", name) for name in components}
    if len(set(names.values())) < len(names):
        raise ValueError("Two components would have the same name.")
    result["components"]["schemas"] = {
        names[name]: schema for name, schema in sorted(components.items())
    }
    return _renamed(result, {PREFIX + old: PREFIX + new for old, new in names.items()})


def _renamed(value: Any, references: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, references) for item in value]
    if isinstance(value, dict):
        return {name: _renamed(item, references) for name, item in value.items()}
    return references.get(value, value) if isinstance(value, str) else value


def _simplified(value: Any, components: Mapping[str, Schema]) -> Any:
    if isinstance(value, list):
        return [_simplified(item, components) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {name: _simplified(item, components) for name, item in value.items()}
    schema.pop("propertyNames", None)  # not in OpenAPI 3.0
    schema.pop("uniqueItems", None)  # a generator for Java writes sets that do not compile
    if isinstance(schema.get("enum"), list) and "type" not in schema:
        schema["type"] = "string"
        schema |= {"nullable": True} if None in schema["enum"] else {}
    if isinstance(schema.get("default"), dict | list) and "type" in schema:
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


def _with_null(value: Any, components: Mapping[str, Schema]) -> Any:
    """Write each schema that may be null with a type and without a reference.

    In OpenAPI 3.0, `nullable` needs a type beside it, and a schema that is referred to would
    refuse null. Without a type, null is always allowed.
    """
    if isinstance(value, list):
        return [_with_null(item, components) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("nullable") is True:
        for target in value.get("allOf", ()):
            others = {name: item for name, item in value.items() if name != "allOf"}
            value = {**components[target["$ref"].removeprefix(PREFIX)], **others}
        if "type" not in value:
            value = {name: item for name, item in value.items() if name != "nullable"}
        if "enum" in value and None not in value["enum"]:
            value = {**value, "enum": [*value["enum"], None]}
    return {name: _with_null(item, components) for name, item in value.items()}


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
