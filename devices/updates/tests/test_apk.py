"""Tests of reading the manifest of an Android package."""

import io
import random
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from devices.updates.apk import Apk, MalformedApk, Manifest, read_apk
from devices.updates.apk.reader import MANIFEST
from devices.updates.apk.resources import ResourceTable
from devices.updates.tests.packages import (
    APP_NAME,
    SIGNER,
    build_apk,
    build_manifest,
    build_resources,
    sign,
)


def read(folder: Path, content: bytes) -> Apk | None:
    path = folder / "file"
    path.write_bytes(content)
    return read_apk(str(path))


@pytest.mark.parametrize("utf8", [True, False])
def test_the_manifest_is_read(tmp_path: Path, utf8: bool) -> None:
    content = read(tmp_path, build_apk("com.example.tv", utf8=utf8, minSdkVersion=28))

    manifest = Manifest("com.example.tv", version_name="2.0.0", version_code=7, minimum_sdk=28)
    assert content == Apk(manifest, signers=[], abis=[])


@pytest.mark.parametrize("scheme", [2, 3])
def test_the_signers_of_both_signature_schemes_are_read(tmp_path: Path, scheme: int) -> None:
    content = read(tmp_path, sign(build_apk(), scheme=scheme))

    assert content is not None
    assert content.signers == [SIGNER]


def test_a_damaged_signing_block_is_rejected(tmp_path: Path) -> None:
    signed, rng = sign(build_apk()), random.Random(2)
    start, end = signed.index(b"SIGNER") - 60, signed.index(b"APK Sig Block 42") + 16
    for _ in range(300):
        damaged = bytearray(signed)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(start, end)] = rng.randrange(256)
        with suppress(MalformedApk):
            read(tmp_path, bytes(damaged))


def test_a_directory_beyond_the_end_of_the_file_is_rejected(tmp_path: Path) -> None:
    whole = build_apk()
    end = whole.rindex(b"PK\x05\x06")
    (position,) = struct.unpack_from("<I", whole, end + 16)
    shifted = whole[: end + 16] + struct.pack("<I", position + 10_000) + whole[end + 20 :]

    with pytest.raises(MalformedApk):
        read(tmp_path, shifted)


def test_the_abis_of_native_libraries_are_read(tmp_path: Path) -> None:
    content = read(tmp_path, build_apk(abis=("armeabi-v7a", "arm64-v8a")))

    assert content is not None
    assert content.abis == ["arm64-v8a", "armeabi-v7a"]


@pytest.mark.parametrize("is_compact", [False, True])
def test_a_label_in_the_resources_is_read(tmp_path: Path, is_compact: bool) -> None:
    resources = build_resources(is_compact=is_compact)

    content = read(tmp_path, build_apk(label=0x7F010001, resources=resources))

    assert content is not None
    assert content.manifest.application_label == APP_NAME


@pytest.mark.parametrize("resources", [None, b"", b"\0" * 100, build_resources()[:200]])
def test_a_label_that_cannot_be_found_is_left_out(tmp_path: Path, resources: bytes | None) -> None:
    content = read(tmp_path, build_apk(label=0x7F010001, resources=resources))

    assert content is not None
    assert content.manifest.application_label is None


def test_a_damaged_resource_table_raises_no_error() -> None:
    whole, rng = build_resources(), random.Random(3)
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        ResourceTable(bytes(damaged)).text(0x7F010001)


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
