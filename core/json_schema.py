"""Validate JSON values against a JSON Schema, with errors that people understand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

INVALID_FORMAT = "The value does not have the expected format."
_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_UNITS = {"maxLength": "characters", "maxItems": "entries", "maxProperties": "keys"}


@dataclass(frozen=True, slots=True)
class SchemaError:
    """An error in a JSON value.

    `path` is the place of the error, for example `schedule.0.on`. It is empty if the
    error concerns the whole value.
    """

    path: str
    sentence: str
    code: str = "invalid"


def find_errors(validator: Any, value: Any, *, codes: Mapping[str, str]) -> Iterator[SchemaError]:
    """Yield the errors of a value, ordered by place.

    Args:
        validator: a validator of the library `jsonschema`.
        codes: error codes by JSON Schema keyword, such as `required`. Errors of all other
            keywords have the code `invalid`.
    """
    errors = validator.iter_errors(value)
    for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path))):
        code = codes.get(error.validator, "invalid")
        for path, sentence in _describe(error):
            yield SchemaError(dotted(path), sentence, code)


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))[:300].encode(errors="replace").decode()


def _describe(error: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path and the message of an error.

    The message of the library `jsonschema` is not used, because it repeats the whole value.
    """
    path, limit = tuple(error.absolute_path), error.validator_value
    match error.validator:
        case "additionalProperties":
            names = sorted(error.schema["properties"])
            unused = [name for name in names if name not in error.instance]
            for name in sorted(set(error.instance) - set(names)):
                yield (*path, name[:80]), _unknown_key(name, unused)
        case "required":
            for name in limit:
                if name not in error.instance:
                    yield (*path, name), "This field is required."
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield (
                (*path, str(error.instance)[:64]),
                "A key must start with a letter and contain only letters, digits, _ and -.",
            )
        case _:
            yield path, _sentence(error, limit)


def _sentence(error: Any, limit: Any) -> str:
    match error.validator:
        case "type":
            types = [limit] if isinstance(limit, str) else limit
            return f"Must be {' or '.join(_TYPES[name] for name in types)}."
        case "enum":
            values = ("null" if value is None else str(value) for value in limit)
            return f"Must be one of: {', '.join(values)}."
        case "minimum" | "maximum":
            return f"Must be from {error.schema['minimum']} to {error.schema['maximum']}."
        case "minProperties" | "maxProperties" if error.schema.get("properties"):
            return f"Set exactly one of {' or '.join(error.schema['properties'])}."
        case "maxLength" | "maxItems" | "maxProperties":
            return f"At most {limit} {_UNITS[error.validator]} are allowed."
        case "minLength" | "minItems":
            return "Must not be empty."
        case "uniqueItems":
            return "Each entry may occur only once."
    return INVALID_FORMAT


def _unknown_key(name: str, unused: list[str]) -> str:
    close = get_close_matches(name, unused, n=1)
    return f"Unknown key.{f' Did you mean {close[0]}?' if close else ''}"
