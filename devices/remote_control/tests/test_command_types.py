"""What devices can be told to do, and what is wrong with what somebody says."""

import pytest
from jsonschema import Draft202012Validator

from devices.remote_control.command_types import FORGOTTEN, TYPES, faults

SCREEN = (1920, 1080)


def wrong(
    name: str, parameters: object, screen: object = SCREEN
) -> list[tuple[str, str]]:
    found = faults(TYPES[name], parameters, screen=screen)  # type: ignore[arg-type]
    return [(fault.path, fault.code) for fault in found]


def test_every_type_of_the_specification_is_there() -> None:
    assert set(TYPES) == {
        *("tap", "swipe", "pinch", "rotate", "keypress", "input", "reload"),
        *("restart", "reboot", "screenshot", "wake_up", "set_volume"),
        "install_update",
    }


@pytest.mark.parametrize("name", TYPES)
def test_every_types_schema_is_one(name: str) -> None:
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
def test_what_can_be_done_has_no_fault(name: str, parameters: object) -> None:
    assert wrong(name, parameters) == []


@pytest.mark.parametrize(
    ("name", "parameters", "found"),
    [
        ("tap", {"x": 1920, "y": 5}, [("x", "off_screen")]),
        ("tap", {"x": 5, "y": 1080}, [("y", "off_screen")]),
        ("tap", {"x": -1, "y": 5}, [("x", "min_value")]),
        ("tap", {"x": 1.5, "y": 5}, [("x", "invalid")]),
        ("tap", {"x": True, "y": 5}, [("x", "invalid")]),
        ("tap", {"x": 5}, [("y", "required")]),
        ("tap", {"x": 5, "y": 5, "z": 5}, [("z", "unknown_field")]),
        (
            "swipe",
            {"from": {"x": 1, "y": 1}, "to": {"x": 1, "y": 2000}},
            [("to.y", "off_screen")],
        ),
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
def test_each_fault_is_named_with_its_place(
    name: str, parameters: object, found: list[tuple[str, str]]
) -> None:
    assert wrong(name, parameters) == found


def test_where_nobody_knows_the_screen_any_place_may_be_on_it() -> None:
    assert wrong("tap", {"x": 5000, "y": 5000}, None) == []


def test_of_typed_text_it_stays_known_that_there_was_some() -> None:
    assert TYPES["input"].kept({"text": "secret"}) == {"text": FORGOTTEN}
    assert TYPES["tap"].kept({"x": 1, "y": 2}) == {"x": 1, "y": 2}
