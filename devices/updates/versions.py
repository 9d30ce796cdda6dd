"""Parse and compare versions by PEP 440 or Semantic Versioning 2.0.0 (§11). Pure functions."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from packaging.version import InvalidVersion as InvalidPep440Version
from packaging.version import Version
from semver import Version as SemanticVersion

PEP_440, SEMANTIC = "pep440", "semver"
CHOICES = ((PEP_440, "PEP 440"), (SEMANTIC, "Semantic Versioning"))
MAX_VERSION_LENGTH = 64

_PARSERS: dict[str, Callable[[str], Any]] = {
    PEP_440: Version,
    SEMANTIC: partial(SemanticVersion.parse, optional_minor_and_patch=False),
}


class MalformedVersion(ValueError):
    """The text is not a version of the given versioning scheme."""


@lru_cache(maxsize=10_000)
def parse_version(text: str, versioning: str) -> Any:
    """Return a version as an object that can be compared with versions of the same scheme.

    Args:
        versioning: `PEP_440` or `SEMANTIC`.

    Raises:
        MalformedVersion: the text is not a version of this scheme.
    """
    if len(text) > MAX_VERSION_LENGTH or text != text.strip():
        raise MalformedVersion(text)
    try:
        return _PARSERS[versioning](text)
    except (InvalidPep440Version, ValueError, TypeError) as error:
        raise MalformedVersion(text) from error


def compare_versions(one: str, other: str, versioning: str) -> int | None:
    """Compare two versions.

    Versions that differ only in build metadata or in trailing zeros are equal.

    Returns:
        -1 if `one` is older than `other`, 0 if equal, 1 if newer; None if `one` or
        `other` is not a version of the scheme.
    """
    if one == other:
        return 0
    try:
        first, second = parse_version(one, versioning), parse_version(other, versioning)
    except MalformedVersion:
        return None
    if first == second:
        return 0
    return -1 if first < second else 1
