"""Tests of parsing and comparing versions."""

import pytest

from devices.updates.versions import (
    PEP_440,
    SEMANTIC,
    MalformedVersion,
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
    ],
)
def test_a_malformed_version_raises_an_error(text: str, versioning: str) -> None:
    with pytest.raises(MalformedVersion):
        parse_version(text, versioning)


def test_a_malformed_version_compares_only_with_itself() -> None:
    assert compare_versions("nightly", "1.0.0", SEMANTIC) is None
    assert compare_versions("nightly", "nightly", SEMANTIC) == 0
