"""Read the signers of an Android package from its signing block.

The formats are those of AOSP's APK signature schemes v2 and v3. Only the certificates are
read. Android verifies the signatures when it installs the package.
"""

import hashlib
import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from devices.updates.apk.binary import MalformedApk

MAGIC = b"APK Sig Block 42"
SCHEMES = {0x7109871A: 2, 0xF05368C0: 3, 0x1B93AD61: 3}  # version by block id; 3.1 counts as 3
MAX_BLOCK_SIZE = 16 << 20  # bytes
MAX_PAIRS = 100
MAX_SIGNERS = 10


def read_signers(file: BinaryIO, directory_position: int) -> list[str]:
    """Return the SHA-256 fingerprints of the signers' certificates, sorted.

    The list is empty if the package has no signature of scheme v2 or v3.

    Args:
        directory_position: position of the archive's directory, which follows the block.

    Raises:
        MalformedApk: the signing block is damaged.
    """
    if directory_position < 32:
        return []
    file.seek(directory_position - 24)
    footer = file.read(24)
    if len(footer) < 24:
        raise MalformedApk("The archive is damaged or incomplete.")
    size, magic = struct.unpack("<Q16s", footer)
    if magic != MAGIC:
        return []
    if not 24 <= size <= min(MAX_BLOCK_SIZE, directory_position - 8):
        raise MalformedApk("The signing block of the package is damaged.")
    file.seek(directory_position - size)
    block = file.read(size - 24)
    try:
        schemes = dict(_schemes(block))
        newest = max(schemes, default=None)
        return [] if newest is None else sorted(_fingerprints(schemes[newest]))
    except (struct.error, ValueError) as error:
        raise MalformedApk("The signing block of the package is damaged.") from error


def _schemes(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the scheme version and the content of each signature in a signing block."""
    position = 0
    for _ in range(MAX_PAIRS):
        if position >= len(block):
            return
        size, kind = struct.unpack_from("<QI", block, position)
        if kind in SCHEMES:
            yield SCHEMES[kind], block[position + 12 : position + 8 + size]
        position += 8 + size


def _fingerprints(signature: bytes) -> set[str]:
    """Return the fingerprint of each signer's own certificate, which is the first one."""
    fingerprints = set()
    for signer in islice(_items(_first(signature)), MAX_SIGNERS):
        _, certificates = islice(_items(_first(signer)), 2)
        fingerprints.add(hashlib.sha256(_first(certificates)).hexdigest())
    return fingerprints


def _items(data: bytes) -> Iterator[bytes]:
    """Yield the length-prefixed items of a sequence."""
    position = 0
    while position + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, position)
        if position + 4 + size > len(data):
            raise struct.error
        yield data[position + 4 : position + 4 + size]
        position += 4 + size


def _first(data: bytes) -> bytes:
    (size,) = struct.unpack_from("<I", data)
    if 4 + size > len(data):
        raise struct.error
    return data[4 : 4 + size]
