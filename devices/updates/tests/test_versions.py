"""Tests of parsing and comparing versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.updates.android_versions import api_level
from devices.updates.versions import (
    PEP_440,
    SEMANTIC,
    VERSION_CODE,
    MalformedVersion,
    compare_reported,
    compare_versions,
    parse_version,
)


@pytest.mark.parametrize(
    ("one", "other", "versioning", "order"),
    [
        ("1.9", "1.10", PEP_440, -1),
        ("2.0rc1", "2.0", PEP_440, -1),
        ("2.0", "2.0.0", PEP_440, 0),
        ("2.0.post1", "2.0", PEP_440, 1),
        ("1.9.0", "1.10.0", SEMANTIC, -1),
        ("2.0.0-rc.1", "2.0.0-rc.2", SEMANTIC, -1),
        ("2.0.0-rc.2", "2.0.0", SEMANTIC, -1),
        ("2.0.0+a", "2.0.0+b", SEMANTIC, 0),
    ],
)
def test_versions_are_ordered(one: str, other: str, versioning: str, order: int) -> None:
    assert compare_versions(one, other, versioning) == order
    assert compare_versions(other, one, versioning) == -order


@pytest.mark.parametrize(
    ("text", "versioning"),
    [
        ("", PEP_440),
        ("two", PEP_440),
        (" 1.0", PEP_440),
        ("1.0", SEMANTIC),
        ("01.0.0", SEMANTIC),
        ("1" * 65, PEP_440),
        ("2.0", VERSION_CODE),
        ("2100000001", VERSION_CODE),
    ],
)
def test_a_malformed_version_raises_an_error(text: str, versioning: str) -> None:
    with pytest.raises(MalformedVersion):
        parse_version(text, versioning)


@pytest.mark.parametrize(
    ("reported", "version", "versioning", "order"),
    [
        ("2.0+7", "2.0", PEP_440, 0),
        ("2.0 (200)", "2.0", PEP_440, 0),
        ("v2.0", "2.0", PEP_440, 0),
        ("Version 2.0", "2.0", PEP_440, 0),
        (" 2.0\n", "2.0", PEP_440, 0),
        ("2.0-debug", "2.0", PEP_440, None),
        ("2026-03-01", "2026.3.1", PEP_440, 0),
        ("2026.03.01", "2026.3.1", PEP_440, 0),
        ("1.9 (199)", "2.0", PEP_440, -1),
        ("v2.1", "2.0", PEP_440, 1),
        ("2.0+7", "2.0+7", PEP_440, 0),
        ("2.0+7", "2.0+8", PEP_440, -1),
        ("200", "200", PEP_440, 0),
        ("2.0-7", "2.0", PEP_440, 0),
        ("2.0_7", "2.0", PEP_440, 0),
        ("2.0.r7", "2.0", PEP_440, 0),
        ("2.0-release", "2.0", PEP_440, 0),
        ("2.0.post1", "2.0", PEP_440, 1),
        ("2.0-1", "2.0.post1", PEP_440, 0),
        ("2.0.0-rc.1", "2.0.0-rc.1", SEMANTIC, 0),
        ("2.0 (build 200)", "200", VERSION_CODE, 0),
        ("2.0 (200)", "2.0.0", SEMANTIC, 0),
        ("v2.0.0+7", "2.0.0", SEMANTIC, 0),
        ("2.0-rc.1", "2.0.0", SEMANTIC, -1),
        ("nightly", "2.0.0", SEMANTIC, None),
        ("", "2.0.0", SEMANTIC, None),
        ("200", "200", VERSION_CODE, 0),
        ("2.0 (200)", "200", VERSION_CODE, 0),
        ("2.0+199", "200", VERSION_CODE, -1),
        ("2.0 build 201", "200", VERSION_CODE, 1),
        ("2.0", "200", VERSION_CODE, None),
    ],
)
def test_a_version_is_read_as_apps_write_it(
    reported: str, version: str, versioning: str, order: int | None
) -> None:
    assert compare_reported(reported, version, versioning) == order


@given(st.text(max_size=70), st.sampled_from([PEP_440, SEMANTIC, VERSION_CODE]))
def test_any_reported_text_is_compared(reported: str, versioning: str) -> None:
    version = "200" if versioning == VERSION_CODE else "2.0.0"
    assert compare_reported(reported, version, versioning) in (-1, 0, 1, None)


@pytest.mark.parametrize(
    ("os_version", "level"),
    [
        ("9", 28),
        ("4.4.2", 19),
        ("Android 11", 30),
        ("7.1.2", 25),
        ("android tv os 12.0", 31),
        ("12L", 32),
        ("Fire OS 7", None),
        ("5.15.0-91-generic", None),
        ("", None),
    ],
)
def test_the_api_level_of_a_reported_android_version_is_known(
    os_version: str, level: int | None
) -> None:
    assert api_level(os_version) == level


def test_a_malformed_version_compares_only_with_itself() -> None:
    assert compare_versions("nightly", "1.0.0", SEMANTIC) is None
    assert compare_versions("nightly", "nightly", SEMANTIC) == 0
