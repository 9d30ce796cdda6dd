"""The OpenAPI document can be used by generators of clients."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from provisioning.api.operations import UnknownOperations, name_operations
from provisioning.api.responses import operations
from provisioning.tests.api_compatibility import RELEASED, breaking_changes, stripped
from provisioning.tests.openapi import openapi_document

DOCUMENT = openapi_document()
COMPONENTS = DOCUMENT["components"]["schemas"]
OPERATIONS = dict(operations(DOCUMENT))
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
    ids = [operation["operationId"] for operation in OPERATIONS.values()]

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


def test_each_operation_has_a_summary_and_a_tag_of_one_audience() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    grouped = [tag for group in DOCUMENT["x-tagGroups"] for tag in group["tags"]]

    assert sorted(grouped) == sorted(tags)
    for operation in OPERATIONS.values():
        assert operation["summary"]
        assert len(operation["tags"]) == 1
        assert operation["tags"][0] in tags


def test_an_operation_that_is_missing_in_the_table_is_an_error() -> None:
    built = copy.deepcopy(DOCUMENT)
    built["paths"]["/new"] = {"get": {"operationId": "new", "responses": {}}}

    with pytest.raises(UnknownOperations, match="GET /new"):
        name_operations(built)


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to a response, an example or a header."""
    if "$ref" not in value:
        return value
    kind, name = value["$ref"].split("/")[-2:]
    found: dict[str, Any] = DOCUMENT["components"][kind][name]
    return found


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each body of a request or a response, with the name of its operation."""
    for name, operation in OPERATIONS.items():
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            for content in resolved(part).get("content", {}).values():
                yield name, content


def test_each_body_that_is_no_binary_file_has_an_example_of_its_schema() -> None:
    for name, content in bodies():
        if content["schema"].get("format") == "binary":
            continue
        examples = content.get("examples", {"example": {"value": content.get("example")}})
        schema = {**as_json_schema(content["schema"]), "components": as_json_schema(COMPONENTS)}
        schema["components"] = {"schemas": schema["components"]}
        value = resolved(examples["example"])["value"]
        errors = list(Draft202012Validator(schema).iter_errors(value))
        assert value is not None, name
        assert errors == [], name


def as_json_schema(value: Any) -> Any:
    """Return a schema of OpenAPI 3.0 as JSON Schema, in which null is a type."""
    if isinstance(value, list):
        return [as_json_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {name: as_json_schema(item) for name, item in value.items()}
    if schema.get("nullable") is True:
        schema["type"] = [schema["type"], "null"]
    return schema


def test_each_operation_can_be_limited_and_unavailable_and_says_how_long_to_wait() -> None:
    for operation in OPERATIONS.values():
        for status in ("429", "503"):
            assert "Retry-After" in resolved(operation["responses"][status])["headers"]


def test_each_operation_with_a_body_can_time_out() -> None:
    for name, operation in OPERATIONS.items():
        if name.startswith(("POST", "PUT", "PATCH")):
            assert "408" in operation["responses"], name


def test_each_response_that_can_be_not_modified_has_an_entity_tag() -> None:
    conditional = [item for item in OPERATIONS.values() if "304" in item["responses"]]

    assert len(conditional) > 5
    for operation in conditional:
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert "If-None-Match" in names
        assert all("ETag" in operation["responses"][status]["headers"] for status in ("200", "304"))


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("POST /devices/me/commands/{command_id}/answer", {"204", "410"}),
        ("PUT /screenshots/{command_id}", {"201", "410"}),
        ("POST /devices/me/updates/{rollout_id}/feedback", {"204", "410"}),
        ("GET /updates/packages/{package_id}/file", {"200", "206", "304", "416"}),
        ("POST /.well-known/est/simpleenroll", {"200", "202"}),
    ],
)
def test_special_statuses_are_listed(name: str, statuses: set[str]) -> None:
    assert statuses <= OPERATIONS[name]["responses"].keys()


def test_the_wait_for_commands_is_an_event_stream_too() -> None:
    content = OPERATIONS["GET /devices/me/commands/stream"]["responses"]["200"]["content"]

    assert content.keys() == {"application/json", "text/event-stream"}


def first_number(document: dict[str, Any]) -> int:
    return int(document["info"]["version"].split(".")[0])


def test_no_change_breaks_clients_of_the_released_version() -> None:
    """A breaking change needs a new first number of the version, see docs/api-changelog.md."""
    released = json.loads(RELEASED.read_text())

    if first_number(DOCUMENT) == first_number(released):
        assert breaking_changes(released, DOCUMENT) == []


def test_the_changelog_describes_the_version() -> None:
    changelog = (Path(__file__).parents[2] / "docs" / "api-changelog.md").read_text()

    assert f"## {DOCUMENT['info']['version']}\n" in changelog


def remove_operation(document: dict[str, Any]) -> None:
    del document["paths"]["/sites"]["post"]


def rename_operation(document: dict[str, Any]) -> None:
    document["paths"]["/sites"]["post"]["operationId"] = "makeSite"


def remove_parameter(document: dict[str, Any]) -> None:
    del document["paths"]["/sites"]["get"]["parameters"][0]


def require_field(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["SiteRequest"]
    schema["required"] = [*schema["required"], "address"]


def remove_sent_field(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["Site"]["properties"]["address"]


def change_type(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Site"]["properties"]["address"]["type"] = "array"


def send_null(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Site"]["properties"]["name"]["nullable"] = True


def refuse_value(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["WeekdayEnum"]["enum"].remove("monday")


@pytest.mark.parametrize(
    "change",
    [
        remove_operation,
        rename_operation,
        remove_parameter,
        require_field,
        remove_sent_field,
        change_type,
        send_null,
        refuse_value,
    ],
)
def test_a_breaking_change_is_found(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(DOCUMENT)
    change(changed)

    assert breaking_changes(stripped(DOCUMENT), changed)


def test_a_new_field_and_a_new_operation_break_nothing() -> None:
    changed = copy.deepcopy(DOCUMENT)
    components = changed["components"]["schemas"]
    components["Site"]["properties"]["colour"] = {"type": "string"}
    components["SiteRequest"]["properties"]["colour"] = {"type": "string"}
    changed["paths"]["/colours"] = {"get": {"operationId": "listColours", "responses": {}}}

    assert breaking_changes(stripped(DOCUMENT), changed) == []
