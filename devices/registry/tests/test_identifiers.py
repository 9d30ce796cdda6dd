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
        "AA:BB:CC:DD:EE:0F",
        "aa-bb-cc-dd-ee-0f",
        "aabb.ccdd.ee0f",
        "AABBCCDDEE0F",
        " aa:bb:cc:dd:ee:0f ",
    ],
)
def test_every_notation_of_a_mac_address_is_normalised(notation: str) -> None:
    assert identifiers.mac_address(notation) == "aa:bb:cc:dd:ee:0f"


@pytest.mark.parametrize("text", ["", "aa:bb:cc:dd:ee", "zz:bb:cc:dd:ee:0f", "aa:bb-cc:dd:ee:0f"])
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
        ("serial_number", "UNKNOWN"),
        ("serial_number", "00000000"),
        ("serial_number", "0123456789ABCDEF"),
    ],
)
def test_a_value_that_many_devices_share_is_a_placeholder(
    kind: identifiers.Kind, value: str
) -> None:
    assert is_placeholder(Identifier(kind, value))


def test_placeholders_are_separated_from_usable_identifiers() -> None:
    usable, placeholders = parse_identifiers(
        serial="unknown", macs=["AABBCCDDEE0F", "000000000000"]
    )

    assert usable == [Identifier("mac_address", "aa:bb:cc:dd:ee:0f")]
    assert {item.value for item in placeholders} == {"unknown", "00:00:00:00:00:00"}


def test_duplicate_identifiers_are_removed() -> None:
    usable, _ = parse_identifiers(macs=["AABBCCDDEE0F", "aa:bb:cc:dd:ee:0f"])

    assert len(usable) == 1


@given(st.text(max_size=80), st.text(max_size=80), st.lists(st.text(max_size=30)))
def test_any_input_is_refused_or_normalised(serial: str, android: str, macs: list[str]) -> None:
    try:
        usable, placeholders = parse_identifiers(serial=serial, android=android, macs=macs)
    except MalformedIdentifier:
        return

    again, placeholders_again = parse_identifiers(
        serial=next((i.value for i in usable if i.kind == "serial_number"), ""),
        android=next((i.value for i in usable if i.kind == "android_id"), ""),
        macs=[i.value for i in usable if i.kind == "mac_address"],
    )
    assert (again, placeholders_again) == (usable, [])
    assert not {item for item in usable if is_placeholder(item)}
    assert all(len(item.value) <= identifiers.MAX_LENGTH for item in usable + placeholders)
