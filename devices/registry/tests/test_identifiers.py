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
def test_a_mac_address_has_one_form_whatever_its_notation(notation: str) -> None:
    assert identifiers.mac_address(notation) == "aa:bb:cc:dd:ee:0f"


@pytest.mark.parametrize(
    "text", ["", "aa:bb:cc:dd:ee", "zz:bb:cc:dd:ee:0f", "aa:bb-cc:dd:ee:0f"]
)
def test_what_is_not_six_octets_is_no_mac_address(text: str) -> None:
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
def test_a_value_that_many_boxes_share_identifies_none(
    kind: identifiers.Kind, value: str
) -> None:
    assert is_placeholder(Identifier(kind, value))


def test_bogus_identifiers_are_set_apart_from_good_ones() -> None:
    good, bogus = parse_identifiers(
        serial="unknown", macs=["AABBCCDDEE0F", "000000000000"]
    )

    assert good == [Identifier("mac_address", "aa:bb:cc:dd:ee:0f")]
    assert {item.value for item in bogus} == {"unknown", "00:00:00:00:00:00"}


def test_the_same_identifier_said_twice_counts_once() -> None:
    good, _ = parse_identifiers(macs=["AABBCCDDEE0F", "aa:bb:cc:dd:ee:0f"])

    assert len(good) == 1


@given(st.text(max_size=80), st.text(max_size=80), st.lists(st.text(max_size=30)))
def test_whatever_a_box_says_is_refused_or_has_one_form(
    serial: str, android: str, macs: list[str]
) -> None:
    try:
        good, bogus = parse_identifiers(serial=serial, android=android, macs=macs)
    except MalformedIdentifier:
        return

    again, bogus_again = parse_identifiers(
        serial=next((i.value for i in good if i.kind == "serial_number"), ""),
        android=next((i.value for i in good if i.kind == "android_id"), ""),
        macs=[i.value for i in good if i.kind == "mac_address"],
    )
    assert (again, bogus_again) == (good, [])
    assert not {item for item in good if is_placeholder(item)}
    assert all(len(item.value) <= identifiers.MAX_LENGTH for item in good + bogus)
