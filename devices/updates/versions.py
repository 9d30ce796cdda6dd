"""Parse and compare versions. Pure functions.

The schemes are PEP 440, Semantic Versioning 2.0.0 (§11) and Android's `versionCode`.
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from packaging.version import InvalidVersion as InvalidPep440Version
from packaging.version import Version
from semver import Version as SemanticVersion

PEP_440, SEMANTIC, VERSION_CODE = "pep440", "semver", "code"
CHOICES = (
    (PEP_440, "PEP 440"),
    (SEMANTIC, "Semantic Versioning"),
    (VERSION_CODE, "Android version code"),
)
MAX_VERSION_CODE = 2_100_000_000  # the highest one that Google Play accepts
MAX_VERSION_LENGTH = 64


def _version_code(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > MAX_VERSION_CODE:
        raise ValueError(text)
    return int(text)


_PARSERS: dict[str, Callable[[str], Any]] = {
    PEP_440: Version,
    VERSION_CODE: _version_code,
    SEMANTIC: partial(SemanticVersion.parse, optional_minor_and_patch=False),
}


# What apps write around a version: `v2.0`, `Version 2.0`, `2.0 (200)`, `2.0 build 7`.
_WRITTEN = re.compile(r"\s*(?:v(?:er(?:sion)?)?[.:]?\s*)?(?P<version>\d[^\s(\[,;]*)", re.I)
# Where apps write the version code: `200`, `2.0 (200)`, `2.0+200`, `2.0 build 200`.
_CODE = re.compile(
    r"(?:\d+|.*[(+]\s*(?:build\s*)?(?P<code>\d+)\s*\)?|.*\bbuild\s*(?P<build>\d+))\s*", re.I
)
# Numbers of builds and names of builds behind a version: `2.0-7`, `2.0_7`, `2.0.r7`, `2.0-release`.
_BUILD = re.compile(
    r"(?:[-_.]r(?:ev)?\d+|[-_]\d+|[-_.](?:release|final|prod|production|ga))$", re.I
)
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")


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


def compare_reported(reported: str, version: str, versioning: str) -> int | None:
    """Compare the version that a device reports with the version of a package.

    Apps write their version in their own way, such as `v2.0`, `2.0 (200)`, `2.0+7` or
    `2026-03-01`. What they add to the version does not count.

    Returns:
        As `compare_versions`; None if the reported text contains no version of the scheme.
    """
    order = compare_versions(reported, version, versioning)
    if order == 0:
        return 0
    try:
        wanted = parse_version(version, versioning)
        read = _read(reported, versioning, keep_build=_has_build(wanted))
    except MalformedVersion:
        return None
    if versioning == PEP_440 and wanted.local is None:
        read = Version(read.public)  # `+7` is the number of a build
    if read == wanted:
        return 0
    return -1 if read < wanted else 1


def _has_build(wanted: Any) -> bool:
    """Return True if such a suffix is part of the versions of a product.

    In PEP 440, `2.0-7` is a post-release. In Semantic Versioning, it is a pre-release.
    """
    return not isinstance(wanted, Version) or wanted.post is not None


def _read(reported: str, versioning: str, *, keep_build: bool) -> Any:
    """Return the version in a reported text. Raise MalformedVersion if there is none.

    Args:
        keep_build: the suffix of a build is part of the version.
    """
    if versioning == VERSION_CODE:
        code = _CODE.fullmatch(reported.strip())
        if code is None:
            raise MalformedVersion(reported)
        return parse_version(code["code"] or code["build"] or reported.strip(), versioning)
    match = _WRITTEN.match(reported)
    if match is None:
        raise MalformedVersion(reported)
    text = _DATE.sub(r"\1.\2.\3", match["version"])
    text = text if keep_build else _BUILD.sub("", text)
    try:
        return parse_version(text, versioning)
    except MalformedVersion:
        if versioning != SEMANTIC:
            raise
    match = re.match(r"(?P<numbers>[\d.]*)(?P<rest>.*)", text)
    assert match is not None
    numbers, rest = match["numbers"], match["rest"]
    parts = [str(int(part)) for part in numbers.strip(".").split(".") if part]
    return parse_version(".".join([*parts, "0", "0"][: max(3, len(parts))]) + rest, versioning)
