"""Messages of devices are used as far as possible."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from core.conversions import clean_json
from core.rest.fields import (
    CodeField,
    IPAddressField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
)
from core.rest.tolerant import TolerantSerializer, read_message


class Report(TolerantSerializer):
    status = serializers.ChoiceField(choices=["done", "failed"], required=True)
    version = StrictCharField(max_length=8, required=False, allow_blank=True)
    code = CodeField(max_length=12, required=False)
    percent = StrictIntegerField(min_value=0, max_value=100, required=False)
    is_on = StrictBooleanField(required=False)
    address = IPAddressField(required=False)
    names = serializers.ListField(child=StrictCharField(max_length=4), max_length=2, required=False)


class Request:
    def __init__(self, data: Any) -> None:
        self.data = data


def read(**data: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    request: Any = Request({"status": "done", **data})
    message = read_message(Report(), request)
    assert message.fields.pop("status") == "done"
    return message.fields, [(item.field, item.code) for item in message.ignored]


@pytest.mark.parametrize(
    ("field", "sent", "used"),
    [
        ("version", 9, "9"),
        ("version", "Android 9\n", "Android"),
        ("version", "a\r\n\tb", "a b"),
        ("version", "\ud800x", "x"),
        ("version", "123456789", "12345678"),
        ("code", "INSTALL_FAILED: no space", "install_fail"),
        ("percent", "17", 17),
        ("percent", 7.4, 7),
        ("percent", "99,6 %", 100),
        ("percent", 100.4, 100),
        ("percent", -0.3, 0),
        ("is_on", "true", True),
        ("is_on", 0, False),
        ("names", "one", ["one"]),
        ("names", ["one", 2, {"three": 3}, "four"], ["one", "2"]),
        ("names", ["a very long name"], ["a ve"]),
    ],
)
def test_a_value_whose_meaning_is_clear_is_converted(field: str, sent: Any, used: Any) -> None:
    assert read(**{field: sent}) == ({field: used}, [(field, "converted")])


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("version", None),
        ("version", True),
        ("version", ["9"]),
        ("version", "\x00\x07"),
        ("percent", "many"),
        ("percent", 101),
        ("percent", -5),
        ("percent", True),
        ("percent", float("nan")),
        ("percent", 10**400),
        ("is_on", 2),
        ("address", ""),
        ("address", "somewhere"),
        ("names", {"a": 1}),
    ],
)
def test_a_value_whose_meaning_is_unclear_is_dropped(field: str, sent: Any) -> None:
    assert read(**{field: sent}) == ({}, [(field, "dropped")])


def test_an_unknown_field_is_named() -> None:
    assert read(odd=1) == ({}, [("odd", "unknown_field")])


def test_a_valid_field_is_used_as_it_is() -> None:
    assert read(version="9", percent=7.0) == ({"version": "9", "percent": 7}, [])


def test_a_choice_is_read_without_regard_to_case() -> None:
    request: Any = Request({"status": " FAILED"})
    assert read_message(Report(), request).fields == {"status": "failed"}


@pytest.mark.parametrize("data", [{}, {"status": "unheard of"}, {"status": None}])
def test_a_message_without_its_required_field_is_refused(data: Any) -> None:
    request: Any = Request(data)
    with pytest.raises(serializers.ValidationError):
        read_message(Report(), request)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Report().fields, "odd"]), values))
def test_any_message_with_a_status_is_read(data: Any) -> None:
    request: Any = Request({**data, "status": "done"})

    fields = read_message(Report(), request).fields

    assert 0 <= fields.get("percent", 0) <= 100
    assert len(fields.get("version", "")) <= 8
    assert len(fields.get("names", [])) <= 2


@given(values)
def test_a_cleaned_value_can_be_stored_as_json(value: Any) -> None:
    text = json.dumps(clean_json(value), allow_nan=False, ensure_ascii=False)

    assert "\\u0000" not in text
    text.encode()
