"""Command types and the validation of their parameters."""

import pytest
from jsonschema import Draft202012Validator

from devices.remote_control.command_types import REDACTED, TYPES, parameter_errors

SCREEN = (1920, 1080)


def error_codes(
    name: str, parameters: object, screen: tuple[int, int] | None = SCREEN
) -> list[tuple[str, str]]:
    errors = parameter_errors(TYPES[name], parameters, screen=screen)
    return [(error.path, error.code) for error in errors]


def test_every_type_of_the_specification_exists() -> None:
    assert set(TYPES) == {
        "tap",
        "swipe",
        "pinch",
        "rotate",
        "keypress",
        "input",
        "reload",
        "restart",
        "reboot",
        "screenshot",
        "wake_up",
        "set_volume",
        "install_update",
    }


@pytest.mark.parametrize("name", TYPES)
def test_the_schema_of_every_type_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(TYPES[name].schema)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tap", {"x": 0, "y": 1079}),
        ("swipe", {"from": {"x": 1, "y": 2}, "to": {"x": 3, "y": 4}}),
        ("pinch", {"x": 9, "y": 9, "scale": 0.5, "duration_ms": 300}),
        ("rotate", {"x": 9, "y": 9, "degrees": -90}),
        ("keypress", {"key": "home"}),
        ("input", {"text": "grüße\n"}),
        ("reload", {}),
        ("screenshot", {"max_width": 640}),
        ("set_volume", {"volume": 0}),
    ],
)
def test_valid_parameters_have_no_errors(name: str, parameters: object) -> None:
    assert error_codes(name, parameters) == []


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("tap", {"x": 1920, "y": 5}, [("x", "off_screen")]),
        ("tap", {"x": 5, "y": 1080}, [("y", "off_screen")]),
        ("tap", {"x": -1, "y": 5}, [("x", "min_value")]),
        ("tap", {"x": 1.5, "y": 5}, [("x", "invalid")]),
        ("tap", {"x": True, "y": 5}, [("x", "invalid")]),
        ("tap", {"x": 5}, [("y", "required")]),
        ("tap", {"x": 5, "y": 5, "z": 5}, [("z", "unknown_field")]),
        ("swipe", {"from": {"x": 1, "y": 1}, "to": {"x": 1, "y": 2000}}, [("to.y", "off_screen")]),
        ("swipe", {"from": {"x": 1, "y": 1}, "to": 5}, [("to", "invalid")]),
        ("keypress", {"key": "self_destruct"}, [("key", "invalid_choice")]),
        ("input", {"text": ""}, [("text", "blank")]),
        ("input", {"text": "a\x00b"}, [("text", "invalid")]),
        ("input", {"text": "x" * 501}, [("text", "max_length")]),
        ("set_volume", {"volume": 101}, [("volume", "max_value")]),
        ("reboot", {"now": True}, [("now", "unknown_field")]),
        ("reload", [], [("", "invalid")]),
    ],
)
def test_each_error_has_a_path_and_a_code(
    name: str, parameters: object, expected: list[tuple[str, str]]
) -> None:
    assert error_codes(name, parameters) == expected


def test_points_are_not_checked_if_the_screen_size_is_unknown() -> None:
    assert error_codes("tap", {"x": 5000, "y": 5000}, None) == []


def test_typed_text_is_redacted() -> None:
    assert TYPES["input"].redact({"text": "secret"}) == {"text": REDACTED}
    assert TYPES["tap"].redact({"x": 1, "y": 2}) == {"x": 1, "y": 2}
