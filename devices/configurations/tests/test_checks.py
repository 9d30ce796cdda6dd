"""What a layer's document may say, and how it is told what it may not. Pure."""

from typing import Any

import pytest

from devices.configurations.document_validation import faults

GOOD = {
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


def test_every_key_can_be_said_at_once() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize("key", GOOD)
def test_every_key_can_be_left_to_the_device(key: str) -> None:
    assert faults({key: None}) == []


def test_nothing_has_to_be_said() -> None:
    assert faults({}) == []


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
        (
            {"schedule": [{"days": ["monday"], "on": "8:00", "off": "09:00"}]},
            "schedule.0.on",
        ),
        (
            {"schedule": [{"days": [], "on": "08:00", "off": "09:00"}]},
            "schedule.0.days",
        ),
        (
            {
                "schedule": [
                    {"days": ["monday", "moonday"], "on": "08:00", "off": "09:00"}
                ]
            },
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
def test_what_is_wrong_is_named_with_its_path(document: Any, path: str) -> None:
    assert [fault.path for fault in faults(document)] == [path]


def test_a_schedule_that_overlaps_itself_names_both_places() -> None:
    early = {"days": ["monday", "tuesday"], "on": "08:00", "off": "12:00"}
    late = {"days": ["tuesday"], "on": "11:59", "off": "18:00"}
    (fault,) = faults({"schedule": [early, late]})
    assert (fault.path, fault.code) == ("schedule.1", "overlap")
    assert "place 0" in fault.sentence


def test_everything_that_is_wrong_is_said_at_once() -> None:
    paths = [fault.path for fault in faults({"volume": 200, "brightness": "x", "x": 1})]
    assert paths == ["x", "brightness", "volume"]


def test_what_no_schema_can_say_is_said_with_the_rest() -> None:
    found = faults({"volume": 101, "time_zone": "Mars/Olympus"})
    assert [fault.path for fault in found] == ["volume", "time_zone"]


def test_each_fault_is_said_once() -> None:
    found = faults({"schedule": [{"days": ["monday"]}]})
    assert sorted(fault.path for fault in found) == ["schedule.0.off", "schedule.0.on"]


def test_a_mistake_in_a_name_is_guessed_at() -> None:
    (fault,) = faults({"brightnes": 1})
    assert fault.sentence == "There is no such key. Is it brightness?"


def test_a_document_of_a_megabyte_is_too_large() -> None:
    (fault,) = faults({"extra": {"a": "x" * 1_000_000}})
    assert fault.code == "too_large"


def test_a_bottomless_document_is_refused() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert [fault.code for fault in faults({"extra": {"a": deep}})] == ["invalid"]


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_what_is_no_object_is_no_configuration(document: Any) -> None:
    assert [fault.path for fault in faults(document)] == [""]


def test_very_many_faults_are_cut() -> None:
    assert len(faults({f"key{number}": 1 for number in range(500)})) == 50


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
def test_a_line_feed_at_the_end_is_no_part_of_a_pattern(document: Any) -> None:
    assert len(faults(document)) == 1


def test_half_of_a_character_in_a_key_can_be_told() -> None:
    for fault in faults({"extra": {"\ud800": 1e99}}):
        assert fault.path.encode()


def test_very_many_bad_values_are_cut() -> None:
    assert len(faults({"extra": {"a": [1e99] * 10_000}})) == 50
