"""What an Android package says of itself."""

import io
import random
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from devices.updates.apk import MANIFEST, ApkManifest, MalformedApk, read_manifest
from devices.updates.tests.rollouts import apk, manifest


def read(folder: Path, content: bytes) -> ApkManifest | None:
    path = folder / "file"
    path.write_bytes(content)
    return read_manifest(str(path))


@pytest.mark.parametrize("utf8", [True, False])
def test_the_manifest_is_read(tmp_path: Path, utf8: bool) -> None:
    said = read(tmp_path, apk("com.example.tv", utf8=utf8, minSdkVersion=28))

    assert said == ApkManifest(
        application_id="com.example.tv",
        version_name="2.0.0",
        version_code=7,
        minimum_sdk=28,
    )


def test_what_is_no_android_package_has_no_facts(tmp_path: Path) -> None:
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
        b"\0" * (2 << 20),  # small when it is compressed
        struct.pack("<HHI", 3, 8, 8) + struct.pack("<HHI", 1, 28, 28) + b"\xff" * 20,
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(MalformedApk):
        read(tmp_path, zipped(content))


def test_a_package_that_is_not_whole_is_told(tmp_path: Path) -> None:
    whole = apk()

    with pytest.raises(MalformedApk):
        read(tmp_path, whole[: len(whole) * 6 // 10])


def test_a_manifest_that_unfolds_without_bounds_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(MANIFEST, b"\0" * (64 << 20))

    with pytest.raises(MalformedApk, match="packed"):
        read(tmp_path, data.getvalue())


def test_a_directory_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(66_000):
            archive.writestr(str(number), b"")

    with pytest.raises(MalformedApk, match="entries"):
        read(tmp_path, data.getvalue())


def test_a_damaged_manifest_is_read_or_refused_and_never_worse(tmp_path: Path) -> None:
    whole, chance = manifest("com.example.tv", True, {}), random.Random(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with suppress(MalformedApk):
            read(tmp_path, zipped(bytes(damaged)[: chance.randint(0, len(whole))]))
