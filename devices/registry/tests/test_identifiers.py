import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.registry import identifiers
from devices.registry.identifiers import (
    Identifier,
    MalformedIdentifier,
    is_placeholder,
    parse_identifiers,
)


@pytest.mark.parametrize(
    "notation",
    [
        "A8:BB:CC:DD:EE:0F",
        "a8-bb-cc-dd-ee-0f",
        "a8bb.ccdd.ee0f",
        "A8BBCCDDEE0F",
        " a8:bb:cc:dd:ee:0f ",
    ],
)
def test_every_notation_of_a_mac_address_is_normalised(notation: str) -> None:
    assert identifiers.mac_address(notation) == "a8:bb:cc:dd:ee:0f"


@pytest.mark.parametrize("text", ["", "a8:bb:cc:dd:ee", "zz:bb:cc:dd:ee:0f", "aa:bb-cc:dd:ee:0f"])
def test_a_mac_address_must_have_six_octets(text: str) -> None:
    with pytest.raises(MalformedIdentifier):
        identifiers.mac_address(text)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("mac_address", "00:00:00:00:00:00"),
        ("mac_address", "ff:ff:ff:ff:ff:ff"),
        ("mac_address", "01:00:5e:00:00:01"),
        ("mac_address", "02:00:00:00:00:00"),
        ("android_id", "9774d56d682e549c"),
        ("android_id", "0000000000000000"),
        ("serial_number", "unknown"),
        ("serial_number", "00000000"),
        ("serial_number", "0123456789abcdef"),
        ("serial_number", "1234567890abcdef"),
        ("serial_number", "87654321"),
        ("serial_number", "123"),
        ("serial_number", "(null)"),
        ("serial_number", "to be filled by o.e.m"),
    ],
)
def test_a_value_that_many_devices_share_is_a_placeholder(
    kind: identifiers.Kind, value: str
) -> None:
    assert is_placeholder(Identifier(kind, value))


def test_placeholders_and_malformed_texts_are_separated_from_usable_identifiers() -> None:
    parsed = parse_identifiers(
        serial="unknown", android="no hexadecimal", macs=["A8BBCCDDEE0F", "000000000000"]
    )

    assert parsed.usable == [Identifier("mac_address", "a8:bb:cc:dd:ee:0f")]
    assert {item.value for item in parsed.placeholders} == {"unknown", "00:00:00:00:00:00"}
    assert [error.kind for error in parsed.malformed] == ["android_id"]


def test_duplicate_identifiers_are_removed() -> None:
    parsed = parse_identifiers(macs=["A8BBCCDDEE0F", "a8:bb:cc:dd:ee:0f"])

    assert len(parsed.usable) == 1


@given(st.text(max_size=80), st.text(max_size=80), st.lists(st.text(max_size=30)))
def test_any_input_is_normalised_once_for_all(serial: str, android: str, macs: list[str]) -> None:
    parsed = parse_identifiers(serial=serial, android=android, macs=macs)
    usable = parsed.usable

    again = parse_identifiers(
        serial=next((i.value for i in usable if i.kind == "serial_number"), ""),
        android=next((i.value for i in usable if i.kind == "android_id"), ""),
        macs=[i.value for i in usable if i.kind == "mac_address"],
    )
    assert (again.usable, again.placeholders, again.malformed) == (usable, [], [])
    assert not {item for item in usable if is_placeholder(item)}
    assert all(len(item.value) <= identifiers.MAX_LENGTH for item in usable + parsed.placeholders)
