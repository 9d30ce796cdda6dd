"""Test helpers: build Android packages, as Android's tools write them."""

import hashlib
import io
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

RESOURCE_IDS = {
    "versionCode": 0x0101021B,
    "versionName": 0x0101021C,
    "minSdkVersion": 0x0101020C,
    "targetSdkVersion": 0x01010270,
    "label": 0x01010001,
}
APP_NAME = "Unmistakable Player"
CERTIFICATE = b"SIGNER of the tests"  # the server compares certificates and does not parse them
SIGNER = hashlib.sha256(CERTIFICATE).hexdigest()
V2, V3 = 0x7109871A, 0xF05368C0  # ids of signature schemes in the signing block


def build_apk(
    application_id: str = "com.example.player",
    *,
    utf8: bool = True,
    abis: Sequence[str] = (),
    resources: bytes | None = None,
    **attributes: Any,
) -> bytes:
    """Build an unsigned Android package with a binary manifest.

    Args:
        attributes: attributes of the manifest; `label` is the id of a resource.
    """
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("AndroidManifest.xml", build_manifest(application_id, utf8, attributes))
        archive.writestr("classes.dex", b"dex" * 100)
        for abi in abis:
            archive.writestr(f"lib/{abi}/libplayer.so", b"elf")
        if resources is not None:
            archive.writestr("resources.arsc", resources)
    return data.getvalue()


def sign(apk: bytes, certificate: bytes = CERTIFICATE, *, scheme: int = 2) -> bytes:
    """Insert a signing block with a certificate before the archive's directory."""
    end = apk.rindex(b"PK\x05\x06")
    (position,) = struct.unpack_from("<I", apk, end + 16)
    more = b"" if scheme == 2 else struct.pack("<II", 24, 36)  # minimum and maximum SDK
    digests = _prefixed(_prefixed(struct.pack("<I", 0x0103) + _prefixed(b"digest")))
    signed_data = digests + _prefixed(_prefixed(certificate)) + more + _prefixed(b"")
    signer = _prefixed(signed_data) + more + _prefixed(b"signatures") + _prefixed(b"key")
    value = _prefixed(_prefixed(signer))
    pair = struct.pack("<QI", 4 + len(value), V2 if scheme == 2 else V3) + value
    padding = struct.pack("<QI", 4 + 20, 0x42726577) + b"\0" * 20
    size = len(padding + pair) + 24
    block = struct.pack("<Q", size) + padding + pair + struct.pack("<Q", size) + b"APK Sig Block 42"
    tail = apk[position:end] + apk[end : end + 16] + struct.pack("<I", position + len(block))
    return apk[:position] + block + tail + apk[end + 20 :]


def _prefixed(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def build_resources(*, is_compact: bool = False) -> bytes:
    """Build a resource table whose string 0x7F010001 refers to 0x7F010000, which is APP_NAME.

    A French value comes before the default one.
    """
    pool = _strings(["Lecteur", APP_NAME], True)
    types, keys = _strings(["string"], True), _strings(["app_name", "alias"], True)
    values = (
        types
        + keys
        + _type_chunk(0, language=b"fr", is_compact=is_compact)
        + _type_chunk(1, language=b"\0\0", is_compact=is_compact)
    )
    header = struct.pack("<HHII", 0x0200, 288, 288 + len(values), 0x7F) + b"\0" * 256
    header += struct.pack("<IIIII", 288, 1, 288 + len(types), 2, 0)
    package = header + values
    size = 12 + len(pool) + len(package)
    return struct.pack("<HHII", 0x0002, 12, size, 1) + pool + package


def _type_chunk(text: int, *, language: bytes, is_compact: bool) -> bytes:
    if is_compact:
        entries = struct.pack("<HHI", 0, 0x0308, text) + struct.pack("<HHI", 1, 0x0108, 0x7F010000)
    else:
        entries = struct.pack("<HHIHBBI", 8, 0, 0, 8, 0, 0x03, text)
        entries += struct.pack("<HHIHBBI", 8, 0, 1, 8, 0, 0x01, 0x7F010000)
    size = len(entries) // 2
    configuration = struct.pack("<I4s2s", 64, b"", language) + b"\0" * 54
    start = 20 + 64 + 8
    header = struct.pack("<HHIBBHII", 0x0201, 84, start + len(entries), 1, 0, 0, 2, start)
    return header + configuration + struct.pack("<II", 0, size) + entries


def build_manifest(application_id: str, utf8: bool, attributes: dict[str, Any]) -> bytes:
    attributes = {"versionCode": 7, "versionName": "2.0.0", **attributes}
    label = attributes.pop("label", None)
    names = [name for name in attributes if name in RESOURCE_IDS]
    texts = [*names, "label", "package", "manifest", "application", application_id]
    texts += [value for value in attributes.values() if isinstance(value, str)]
    rows = [_attribute(texts, "package", application_id)]
    rows += [_attribute(texts, name, attributes[name]) for name in names]
    names.append("label")
    resources = struct.pack(
        f"<HHI{len(names)}I", 0x0180, 8, 8 + 4 * len(names), *(RESOURCE_IDS[name] for name in names)
    )
    labels = [] if label is None else [_attribute(texts, "label", label, kind=0x01)]
    chunks = (
        _strings(texts, utf8)
        + resources
        + _element(texts.index("manifest"), rows)
        + _element(texts.index("application"), labels)
    )
    return struct.pack("<HHI", 3, 8, 8 + len(chunks)) + chunks


def _strings(texts: list[str], utf8: bool) -> bytes:
    offsets, data = [], b""
    for text in texts:
        offsets.append(len(data))
        if utf8:
            raw = text.encode()
            data += bytes([len(text), len(raw)]) + raw + b"\0"
        else:
            data += struct.pack("<H", len(text)) + text.encode("utf-16-le") + b"\0\0"
    data += b"\0" * (-len(data) % 4)
    start = 28 + 4 * len(texts)
    head = struct.pack(
        "<HHIIIIII", 1, 28, start + len(data), len(texts), 0, 0x100 if utf8 else 0, start, 0
    )
    return head + struct.pack(f"<{len(texts)}I", *offsets) + data


def _attribute(texts: list[str], name: str, value: Any, *, kind: int | None = None) -> bytes:
    is_text = isinstance(value, str)
    number = texts.index(value) if is_text else value
    raw = number if is_text else 0xFFFFFFFF
    kind = kind or (0x03 if is_text else 0x10)
    return struct.pack("<IIIHBBI", 0xFFFFFFFF, texts.index(name), raw, 8, 0, kind, number)


def _element(name: int, rows: list[bytes]) -> bytes:
    body = struct.pack("<IIIIHHHHHH", 1, 0xFFFFFFFF, 0xFFFFFFFF, name, 20, 20, len(rows), 0, 0, 0)
    data = body + b"".join(rows)
    return struct.pack("<HHI", 0x0102, 16, 8 + len(data)) + data
