"""The OpenAPI document can be used by generators of clients."""

import re
from collections.abc import Iterator
from typing import Any

from provisioning.tests.openapi import openapi_document

DOCUMENT = openapi_document()
COMPONENTS = DOCUMENT["components"]["schemas"]
# Classes of generators, and of the languages that they write.
NAMES_IN_USE = {
    *("ApiClient", "ApiException", "ApiResponse", "Client", "Configuration", "Errors", "Response"),
    *("Class", "Enum", "Error", "Exception", "List", "Map", "Object", "Override", "Package", "Set"),
}


def schemas(value: Any = DOCUMENT) -> Iterator[dict[str, Any]]:
    """Yield all objects of the document."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from schemas(item)


def operations() -> list[dict[str, Any]]:
    return [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def test_no_schema_has_alternatives() -> None:
    assert [schema for schema in schemas() if {"oneOf", "anyOf"} & schema.keys()] == []


def test_no_schema_uses_what_is_new_in_openapi_3_1() -> None:
    new = {"const", "examples", "propertyNames", "prefixItems", "$defs"}
    assert DOCUMENT["openapi"].startswith("3.0.")
    assert [schema for schema in schemas() if isinstance(schema.get("type"), list)] == []
    assert [schema for schema in COMPONENTS.values() if new & schema.keys()] == []
    schemes = DOCUMENT["components"]["securitySchemes"].values()
    assert {scheme["type"] for scheme in schemes} == {"http"}


def test_operation_ids_are_unique_camel_case_names() -> None:
    ids = [operation["operationId"] for operation in operations()]

    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch("[a-z][A-Za-z0-9]+", name)] == []


def test_no_component_has_the_name_of_a_class_of_the_generators() -> None:
    assert COMPONENTS.keys() & NAMES_IN_USE == set()


def test_no_component_has_the_name_of_a_nested_object_of_its_own() -> None:
    """A generator names the class of a nested object after the property."""
    assert [
        (name, field)
        for name, schema in COMPONENTS.items()
        for field, value in schema.get("properties", {}).items()
        if name.lower() == field.replace("_", "") and value.get("type") in ("object", "array")
    ] == []
