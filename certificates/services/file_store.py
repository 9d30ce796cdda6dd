"""PEM files under `CERTIFICATES_ROOT`: whole or not at all, secret ones for us alone.

ca-key.pem (0600)   ca-cert.pem                      the first authority
authorities/{key id}/ca-key.pem, ca-cert.pem         a root above it, and its successors
devices/private/{device}-key.pem   (0600, folder 0700)
devices/public/{device}-cert.pem
devices/staged/{serial}-key.pem, {serial}-cert.pem   on their way there
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

SECRET = 0o600
PUBLIC = 0o644


class InsecureFile(OSError):
    """A secret lies in a file that others may read or have put there; it is not used."""


class AuthorityFiles:
    """Where one authority's key and chain lie; a token's key has its address instead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "ca-key.pem"
        self.key_address = folder / "ca-key.uri"  # RFC 7512
        self.certificate = folder / "ca-cert.pem"

    def has_key(self) -> bool:
        return self.key.exists() or self.key_address.exists()


class CertificateStore:
    """The files of the authorities of one installation, and of its devices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authorities = root / "authorities"
        self.first = AuthorityFiles(root)
        self.ca_key = self.first.key
        self.ca_certificate = self.first.certificate
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

    def authority(self, key_identifier: str) -> AuthorityFiles:
        """Where a root, or a successor of the first authority, lies."""
        return AuthorityFiles(self.authorities / key_identifier)

    def all_authorities(self) -> Iterator[AuthorityFiles]:
        """Every folder that holds an authority's chain, the first one's first."""
        folders = [self.root]
        if self.authorities.is_dir():
            folders += sorted(self.authorities.iterdir())
        for folder in folders:
            files = AuthorityFiles(folder)
            if files.certificate.exists():
                yield files

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
        if (
            key is not None
        ):  # its place is made durable at the end, before the record is
            write(self.staged_key(serial_number), key, mode=SECRET, placed=False)
        write(self.staged_certificate(serial_number), certificate, mode=PUBLIC)

    def install(self, serial_number: str, device_id: UUID, *, with_key: bool) -> None:
        """Move what is staged to its place; done twice, or from half-way, it ends the same.

        A device that holds its own key has none here: an earlier one goes. Between two
        keys there is no certificate for a moment, rather than one of the other key.
        """
        if with_key:
            if self.staged_key(serial_number).exists():
                self.certificate_of(device_id).unlink(missing_ok=True)
            _move(self.staged_key(serial_number), self.key_of(device_id))
            _sync(self.private)
        else:
            self.key_of(device_id).unlink(missing_ok=True)
        _move(self.staged_certificate(serial_number), self.certificate_of(device_id))

    def discard(self, serial_number: str) -> None:
        """Remove what was staged."""
        self.staged_key(serial_number).unlink(missing_ok=True)
        self.staged_certificate(serial_number).unlink(missing_ok=True)


def write(path: Path, content: bytes, *, mode: int, placed: bool = True) -> None:
    """Write a file that has its mode from its first moment and appears whole.

    Args:
        placed: that it is in this place outlives a power cut as well as its content.
    """
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
    if (
        placed and mode == SECRET
    ):  # what is public is in the record as well and can be mended
        _sync(path.parent)


def read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def read_secret(path: Path) -> bytes | None:
    """A secret file's content, if it is a plain file of ours that nobody else can read.

    Raises:
        InsecureFile: it is a link or no file, somebody else's, or open to others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InsecureFile(f"{path.name} is not a plain file") from error
    try:
        _see_that_it_is_secret(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def _see_that_it_is_secret(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise InsecureFile(f"{path.name} is not a plain file")
    if about.st_uid not in (os.geteuid(), 0):
        raise InsecureFile(f"{path.name} belongs to somebody else")
    if stat.S_IMODE(about.st_mode) & 0o077:
        raise InsecureFile(f"{path.name} can be read by others; it wants mode 0600")


def is_ours_but_open(path: Path) -> bool:
    """Whether a secret file is what it should be in all but its mode."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return False
    plain_and_ours = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()
    return plain_and_ours and stat.S_IMODE(about.st_mode) != SECRET


def _move(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):  # moved before a crash
        source.rename(target)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
