"""What the value of a preference may be. Pure."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from devices.preferences.value_kinds import definition_fault, fault


@dataclass
class A:
    kind: str
    minimum: int | None = None
    maximum: int | None = None
    choices: list[Any] = field(default_factory=list)


BOUNDED = A("integer", minimum=0, maximum=10)
CHOICE = A("choice", choices=["big", "small"])


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (A("boolean"), True),
        (A("integer"), -5),
        (BOUNDED, 0),
        (BOUNDED, 10),
        (A("text"), ""),
        (A("text"), "two\nlines"),
        (CHOICE, "big"),
        (A("json"), {"a": [1, None]}),
        (A("json"), False),
    ],
)
def test_a_value_of_its_kind_is_one(typed: A, value: Any) -> None:
    assert fault(typed, value) is None


DEEP: Any = 1
for _ in range(50):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (A("boolean"), 1),
        (A("boolean"), "true"),
        (A("integer"), True),
        (A("integer"), 1.5),
        (A("integer"), 2**60),
        (BOUNDED, -1),
        (BOUNDED, 11),
        (A("text"), 5),
        (A("text"), "x" * 1001),
        (A("text"), "\x00"),
        (A("text"), "\ud800"),
        (CHOICE, "middle"),
        (CHOICE, None),
        (A("json"), None),
        (A("json"), float("nan")),
        (A("json"), "x" * 20_000),
        (A("json"), {"a": "\x00"}),
        (A("json"), DEEP),
    ],
)
def test_what_is_no_value_of_its_kind_is_told_why(typed: A, value: Any) -> None:
    assert fault(typed, value)


@pytest.mark.parametrize(
    ("key", "typed", "at_fault"),
    [
        ("Volume", A("boolean"), "key"),
        ("1st", A("boolean"), "key"),
        ("a" * 65, A("boolean"), "key"),
        ("a", A("integer", minimum=5, maximum=4), "maximum"),
        ("a", A("integer", minimum=-(2**60)), "minimum"),
        ("a", A("choice"), "choices"),
        ("a", A("choice", choices=["x", "x"]), "choices"),
        ("a", A("choice", choices=[""]), "choices"),
        ("a", A("choice", choices=[1]), "choices"),
        ("a", A("choice", choices=[str(n) for n in range(101)]), "choices"),
    ],
)
def test_a_definition_that_cannot_be_names_its_field(
    key: str, typed: A, at_fault: str
) -> None:
    found = definition_fault(key, typed)
    assert found is not None
    assert found[0] == at_fault
