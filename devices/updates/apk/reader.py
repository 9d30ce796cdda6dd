"""Read what the server checks of an Android package: its manifest, signers and ABIs.

Uploaded files are not trusted: an archive directory with a million entries could fill the
memory, and a small entry can have gigabytes when it is decompressed.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from devices.updates.apk.binary import MalformedApk
from devices.updates.apk.manifest import Manifest, parse_manifest
from devices.updates.apk.resources import ResourceTable
from devices.updates.apk.signing_block import read_signers

MANIFEST, RESOURCES = "AndroidManifest.xml", "resources.arsc"
MAX_MANIFEST_SIZE = 1 << 20  # bytes
MAX_RESOURCES_SIZE = 16 << 20  # bytes
MAX_DIRECTORY_SIZE = 32 << 20  # bytes
MAX_ENTRIES = 65_535  # maximum without the ZIP64 extension (APPNOTE 4.4.22)
MAX_END_RECORD_SIZE = 22 + 65_535  # bytes of the end record and its comment
MAX_ABIS = 10
LOCAL_HEADER, END_RECORD = b"PK\x03\x04", b"PK\x05\x06"
ZIP64 = b"PK\x06\x07"  # signature of the ZIP64 end record locator (APPNOTE 4.3.15)
NATIVE_LIBRARY = re.compile(r"lib/([A-Za-z0-9_-]{1,20})/[^/]+\.so")


@dataclass(frozen=True, slots=True)
class Apk:
    """What the server knows of an Android package.

    `signers` has the SHA-256 fingerprints of the certificates of scheme v2 or v3; it is empty
    if the package has no such signature. `abis` is empty if the package runs on all ABIs.
    """

    manifest: Manifest
    signers: Sequence[str] = ()
    abis: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        fields = {"signers": list(self.signers), "abis": list(self.abis)}
        return {**asdict(self.manifest), **fields}


def read_apk(path: str) -> Apk | None:
    """Return what is known of an Android package; None if the file is no Android package.

    Raises:
        MalformedApk: the archive, its manifest or its signing block cannot be read.
    """
    directory_position = _directory_position(path)
    if directory_position is None:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive)
            names = [NATIVE_LIBRARY.fullmatch(name) for name in archive.namelist()]
    except MalformedApk:
        raise  # also a ValueError, but with a more precise message than below
    except KeyError:
        return None  # another kind of archive
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise MalformedApk("The archive is damaged or incomplete.") from error
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise MalformedApk("The manifest cannot be decompressed.") from error
    abis = sorted({match[1] for match in names if match})[:MAX_ABIS]
    with open(path, "rb") as file:
        return Apk(manifest, read_signers(file, directory_position), abis)


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    data = _read(archive, MANIFEST, MAX_MANIFEST_SIZE)
    tables: list[ResourceTable | None] = []

    def string_resource(resource_id: int) -> str | None:
        if not tables:  # read once, and only if the manifest refers to it
            tables.append(_resources(archive))
        return tables[0].text(resource_id) if tables[0] is not None else None

    return parse_manifest(data, string_resource)


def _resources(archive: zipfile.ZipFile) -> ResourceTable | None:
    """Return the resource table. It only has texts to display, so a bad one is ignored."""
    try:
        return ResourceTable(_read(archive, RESOURCES, MAX_RESOURCES_SIZE))
    except (KeyError, MalformedApk):
        return None


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return the content of an entry.

    Raises:
        KeyError: there is no such entry.
        MalformedApk: the entry is larger than the limit.
    """
    entry = archive.getinfo(name)
    # Android supports only these methods. Others are decompressed without a size limit.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedApk("The compression method of the manifest is not supported.")
    with archive.open(entry) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise MalformedApk("The manifest is too large.")
    return data


def _directory_position(path: str) -> int | None:
    """Return the position of the directory of a ZIP archive; None if the file is no archive.

    Raises:
        MalformedApk: the end record of the archive is missing, or its directory is too large.
    """
    with open(path, "rb") as file:
        if file.read(len(LOCAL_HEADER)) != LOCAL_HEADER:
            return None
        size = file.seek(0, 2)
        file.seek(max(0, size - MAX_END_RECORD_SIZE))
        tail = file.read()
    end = tail.rfind(END_RECORD)
    if end < 0 or len(tail) - end < 22:
        raise MalformedApk("The archive is damaged or incomplete.")
    entries, directory_size, position = struct.unpack_from("<HII", tail, end + 10)
    if tail[max(0, end - 20) : end].startswith(ZIP64):
        raise MalformedApk("The archive has too many entries.")
    if entries >= MAX_ENTRIES or directory_size > MAX_DIRECTORY_SIZE:
        raise MalformedApk("The archive has too many entries.")
    return int(position)
