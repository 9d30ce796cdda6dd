"""Validation of preference values and definitions. The tests use no database."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from devices.preferences.value_kinds import find_definition_fault, find_fault


@dataclass
class ValueType:
    kind: str
    minimum: int | None = None
    maximum: int | None = None
    choices: list[Any] = field(default_factory=list)


BOUNDED = ValueType("integer", minimum=0, maximum=10)
CHOICE = ValueType("choice", choices=["big", "small"])


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType("boolean"), True),
        (ValueType("integer"), -5),
        (BOUNDED, 0),
        (BOUNDED, 10),
        (ValueType("text"), ""),
        (ValueType("text"), "two\nlines"),
        (CHOICE, "big"),
        (ValueType("json"), {"a": [1, None]}),
        (ValueType("json"), False),
    ],
)
def test_a_valid_value_has_no_fault(value_type: ValueType, value: Any) -> None:
    assert find_fault(value_type, value) is None


DEEP: Any = 1
for _ in range(50):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType("boolean"), 1),
        (ValueType("boolean"), "true"),
        (ValueType("integer"), True),
        (ValueType("integer"), 1.5),
        (ValueType("integer"), 2**60),
        (BOUNDED, -1),
        (BOUNDED, 11),
        (ValueType("text"), 5),
        (ValueType("text"), "x" * 1001),
        (ValueType("text"), "\x00"),
        (ValueType("text"), "\ud800"),
        (CHOICE, "middle"),
        (CHOICE, None),
        (ValueType("json"), None),
        (ValueType("json"), float("nan")),
        (ValueType("json"), "x" * 20_000),
        (ValueType("json"), {"a": "\x00"}),
        (ValueType("json"), DEEP),
    ],
)
def test_an_invalid_value_has_a_fault(value_type: ValueType, value: Any) -> None:
    assert find_fault(value_type, value)


@pytest.mark.parametrize(
    ("key", "value_type", "field_name"),
    [
        ("Volume", ValueType("boolean"), "key"),
        ("1st", ValueType("boolean"), "key"),
        ("a" * 65, ValueType("boolean"), "key"),
        ("a", ValueType("integer", minimum=5, maximum=4), "maximum"),
        ("a", ValueType("integer", minimum=-(2**60)), "minimum"),
        ("a", ValueType("choice"), "choices"),
        ("a", ValueType("choice", choices=["x", "x"]), "choices"),
        ("a", ValueType("choice", choices=[""]), "choices"),
        ("a", ValueType("choice", choices=[1]), "choices"),
        ("a", ValueType("choice", choices=[str(n) for n in range(101)]), "choices"),
    ],
)
def test_an_invalid_definition_names_the_field(
    key: str, value_type: ValueType, field_name: str
) -> None:
    fault = find_definition_fault(key, value_type)
    assert fault is not None
    assert fault[0] == field_name
