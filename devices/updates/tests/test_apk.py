"""Tests of reading the manifest of an Android package."""

import io
import random
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from devices.updates.apk import MANIFEST, ApkManifest, MalformedApk, read_manifest
from devices.updates.tests.rollouts import build_apk, build_manifest


def read(folder: Path, content: bytes) -> ApkManifest | None:
    path = folder / "file"
    path.write_bytes(content)
    return read_manifest(str(path))


@pytest.mark.parametrize("utf8", [True, False])
def test_the_manifest_is_read(tmp_path: Path, utf8: bool) -> None:
    values = read(tmp_path, build_apk("com.example.tv", utf8=utf8, minSdkVersion=28))

    assert values == ApkManifest(
        application_id="com.example.tv", version_name="2.0.0", version_code=7, minimum_sdk=28
    )


def test_a_file_that_is_not_an_android_package_has_no_manifest(tmp_path: Path) -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "hello")

    assert read(tmp_path, b"firmware") is None
    assert read(tmp_path, other.getvalue()) is None


def zipped(content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, content)
    return data.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<manifest/>",
        b"\0" * (2 << 20),  # small when compressed
        struct.pack("<HHI", 3, 8, 8) + struct.pack("<HHI", 1, 28, 28) + b"\xff" * 20,
    ],
)
def test_an_unreadable_manifest_is_rejected(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MalformedApk):
        read(tmp_path, zipped(content))


def test_a_truncated_package_is_rejected(tmp_path: Path) -> None:
    whole = build_apk()

    with pytest.raises(MalformedApk):
        read(tmp_path, whole[: len(whole) * 6 // 10])


def test_an_unsupported_compression_method_is_rejected(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(MANIFEST, b"\0" * (64 << 20))

    with pytest.raises(MalformedApk, match="compression method"):
        read(tmp_path, data.getvalue())


def test_an_archive_with_too_many_entries_is_rejected(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(66_000):
            archive.writestr(str(number), b"")

    with pytest.raises(MalformedApk, match="entries"):
        read(tmp_path, data.getvalue())


def test_a_damaged_manifest_raises_no_other_error(tmp_path: Path) -> None:
    whole, rng = build_manifest("com.example.tv", True, {}), random.Random(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(MalformedApk):
            read(tmp_path, zipped(bytes(damaged)[: rng.randint(0, len(whole))]))
