"""PEM files under `CERTIFICATES_ROOT`: whole or not at all, secret ones for us alone.

ca-key.pem (0600)   ca-cert.pem
devices/private/{device}-key.pem   (0600, folder 0700)
devices/public/{device}-cert.pem
devices/staged/{serial}-key.pem, {serial}-cert.pem   on their way there
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

SECRET = 0o600
PUBLIC = 0o644


class CertificateStore:
    """The files of one certificate authority."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ca_key = root / "ca-key.pem"
        self.ca_certificate = root / "ca-cert.pem"
        self.private = root / "devices" / "private"
        self.public = root / "devices" / "public"
        self.staged = root / "devices" / "staged"

    def prepare(self) -> None:
        """Make the folders, and close those that hold secrets."""
        self.public.mkdir(parents=True, exist_ok=True)
        for folder in (self.private, self.staged):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes of this machine."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "ca.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def key_of(self, device_id: UUID) -> Path:
        return self.private / f"{device_id}-key.pem"

    def certificate_of(self, device_id: UUID) -> Path:
        return self.public / f"{device_id}-cert.pem"

    def staged_key(self, serial_number: str) -> Path:
        return self.staged / f"{serial_number}-key.pem"

    def staged_certificate(self, serial_number: str) -> Path:
        return self.staged / f"{serial_number}-cert.pem"

    def stage(
        self, serial_number: str, *, key: bytes | None, certificate: bytes
    ) -> None:
        """Put a key, then its certificate, beside the places that they will have."""
        if not self.staged.is_dir():
            self.prepare()
        if key is not None:
            write(self.staged_key(serial_number), key, mode=SECRET)
        write(self.staged_certificate(serial_number), certificate, mode=PUBLIC)

    def install(self, serial_number: str, device_id: UUID, *, with_key: bool) -> None:
        """Move what is staged to its place; done twice, or from half-way, it ends the same.

        A device that holds its own key has none here: an earlier one goes.
        """
        if with_key:
            _move(self.staged_key(serial_number), self.key_of(device_id))
            _sync(self.private)
        else:
            self.key_of(device_id).unlink(missing_ok=True)
        _move(self.staged_certificate(serial_number), self.certificate_of(device_id))

    def discard(self, serial_number: str) -> None:
        """Remove what was staged."""
        self.staged_key(serial_number).unlink(missing_ok=True)
        self.staged_certificate(serial_number).unlink(missing_ok=True)


def write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that has its mode from its first moment and appears whole."""
    making = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(
        making, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        making.rename(path)
    except OSError:
        making.unlink(missing_ok=True)
        raise
    if mode == SECRET:  # what is public is in the record as well and can be mended
        _sync(path.parent)


def read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _move(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):  # moved before a crash
        source.rename(target)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
