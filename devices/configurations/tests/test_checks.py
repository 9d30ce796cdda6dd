"""Validation of layer documents. The tests use no database."""

from typing import Any

import pytest

from devices.configurations.document_validation import find_faults

VALID = {
    "orientation": "portrait",
    "resolution": {"width": 1920, "height": 1080},
    "brightness": 255,
    "volume": 0,
    "time_zone": "Europe/Berlin",
    "locale": "de-AT",
    "schedule": [{"days": ["monday"], "on": "08:00", "off": "22:00"}],
    "launch": {"url": "https://signage.example.com/lobby?screen=1"},
    "extra": {"ticker": True, "zones": [1, {"a": None}]},
}


def test_a_document_with_every_key_is_valid() -> None:
    assert find_faults(VALID) == []


@pytest.mark.parametrize("key", VALID)
def test_every_key_can_be_null(key: str) -> None:
    assert find_faults({key: None}) == []


def test_an_empty_document_is_valid() -> None:
    assert find_faults({}) == []


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"brightness": 256}, "brightness"),
        ({"brightness": -1}, "brightness"),
        ({"brightness": "loud"}, "brightness"),
        ({"brightness": True}, "brightness"),
        ({"volume": 101}, "volume"),
        ({"volumes": 1}, "volumes"),
        ({"orientation": "upside_down"}, "orientation"),
        ({"resolution": {"width": 1}}, "resolution.height"),
        ({"resolution": {"width": 1, "height": 1, "depth": 1}}, "resolution.depth"),
        ({"resolution": {"width": 1, "height": 0}}, "resolution.height"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "localtime"}, "time_zone"),
        ({"locale": "German"}, "locale"),
        ({"launch": {}}, "launch"),
        ({"launch": {"url": "https://a.b", "app": "a.b"}}, "launch"),
        ({"launch": {"url": "javascript:alert(1)"}}, "launch.url"),
        ({"launch": {"app": "no dots"}}, "launch.app"),
        ({"schedule": [{"days": ["monday"], "on": "8:00", "off": "09:00"}]}, "schedule.0.on"),
        ({"schedule": [{"days": [], "on": "08:00", "off": "09:00"}]}, "schedule.0.days"),
        (
            {"schedule": [{"days": ["monday", "moonday"], "on": "08:00", "off": "09:00"}]},
            "schedule.0.days.1",
        ),
        ({"schedule": [{"days": ["monday"], "on": "08:00"}]}, "schedule.0.off"),
        ({"extra": {"1a": 1}}, "extra.1a"),
        ({"extra": {"a": [1, {"b": "\x00"}]}}, "extra.a.1.b"),
        ({"extra": {"a": "\ud800"}}, "extra.a"),
        ({"extra": {"a": 1e300}}, "extra.a"),
        ({"extra": {"a": float("nan")}}, "extra.a"),
    ],
)
def test_a_fault_has_the_path_of_the_invalid_value(document: Any, path: str) -> None:
    assert [fault.path for fault in find_faults(document)] == [path]


def test_a_schedule_overlap_names_both_entries() -> None:
    early = {"days": ["monday", "tuesday"], "on": "08:00", "off": "12:00"}
    late = {"days": ["tuesday"], "on": "11:59", "off": "18:00"}
    (fault,) = find_faults({"schedule": [early, late]})
    assert (fault.path, fault.code) == ("schedule.1", "overlap")
    assert "entry 0" in fault.sentence


def test_all_faults_are_returned_at_once() -> None:
    paths = [fault.path for fault in find_faults({"volume": 200, "brightness": "x", "x": 1})]
    assert paths == ["x", "brightness", "volume"]


def test_faults_beyond_the_schema_are_returned_with_schema_faults() -> None:
    faults = find_faults({"volume": 101, "time_zone": "Mars/Olympus"})
    assert [fault.path for fault in faults] == ["volume", "time_zone"]


def test_each_fault_is_returned_once() -> None:
    faults = find_faults({"schedule": [{"days": ["monday"]}]})
    assert sorted(fault.path for fault in faults) == ["schedule.0.off", "schedule.0.on"]


def test_a_similar_key_is_suggested_for_an_unknown_key() -> None:
    (fault,) = find_faults({"brightnes": 1})
    assert fault.sentence == "Unknown key. Did you mean brightness?"


def test_a_document_of_a_megabyte_is_too_large() -> None:
    (fault,) = find_faults({"extra": {"a": "x" * 1_000_000}})
    assert fault.code == "too_large"


def test_a_deeply_nested_document_is_invalid() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert [fault.code for fault in find_faults({"extra": {"a": deep}})] == ["invalid"]


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_a_document_must_be_an_object(document: Any) -> None:
    assert [fault.path for fault in find_faults(document)] == [""]


def test_at_most_fifty_faults_are_returned() -> None:
    assert len(find_faults({f"key{number}": 1 for number in range(500)})) == 50


@pytest.mark.parametrize(
    "document",
    [
        {"locale": "en\n"},
        {"launch": {"url": "https://example.com\n"}},
        {"launch": {"app": "a.b\n"}},
        {"schedule": [{"days": ["monday"], "on": "08:00\n", "off": "09:00"}]},
        {"extra": {"key\n": 1}},
    ],
)
def test_a_final_line_feed_does_not_match_a_pattern(document: Any) -> None:
    assert len(find_faults(document)) == 1


def test_the_path_of_a_key_with_an_unpaired_surrogate_can_be_encoded() -> None:
    for fault in find_faults({"extra": {"\ud800": 1e99}}):
        assert fault.path.encode()


def test_many_invalid_values_return_at_most_fifty_faults() -> None:
    assert len(find_faults({"extra": {"a": [1e99] * 10_000}})) == 50
