"""Atomic reading and writing of the PEM files under `CERTIFICATES_ROOT`.

ca-key.pem (0600)   ca-cert.pem                      the first CA
authorities/{key id}/ca-key.pem, ca-cert.pem         the root and later CAs
devices/private/{device}-key.pem   (0600, folder 0700)
devices/public/{device}-cert.pem
devices/staged/{serial}-key.pem, {serial}-cert.pem   not installed yet

A CA whose key is in a token has `ca-key.uri` instead of `ca-key.pem`.
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
    """A secret file is refused, because other users can read it or may have written it."""


class AuthorityFiles:
    """The paths of the files with a CA's key, the key's address in a token, and the chain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "ca-key.pem"
        self.key_address = folder / "ca-key.uri"  # RFC 7512
        self.certificate = folder / "ca-cert.pem"

    def has_key(self) -> bool:
        return self.key.exists() or self.key_address.exists()


class CertificateStore:
    """The files of an installation's CAs and devices."""

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
        """Create the folders. Folders for secrets get mode 0700."""
        self.public.mkdir(parents=True, exist_ok=True)
        for folder in (self.private, self.staged):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lock that excludes all other processes of this machine."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "ca.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def authority(self, key_identifier: str) -> AuthorityFiles:
        """Return the paths of a root or of a successor of the first CA."""
        return AuthorityFiles(self.authorities / key_identifier)

    def all_authorities(self) -> Iterator[AuthorityFiles]:
        """Yield the paths of every CA that has a chain file, the first CA first."""
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

    def stage(self, serial_number: str, *, key: bytes | None, certificate: bytes) -> None:
        """Write a key and its certificate to the staging folder, the key first."""
        if not self.staged.is_dir():
            self.prepare()
        if key is not None:
            # `install` syncs the folder before the transaction commits.
            path = self.staged_key(serial_number)
            write(path, key, mode=SECRET, sync_folder=False)
        write(self.staged_certificate(serial_number), certificate, mode=PUBLIC)

    def install(self, serial_number: str, device_id: UUID, *, with_key: bool) -> None:
        """Move staged files to their final paths. The move can be repeated after a crash.

        If the device generated its own key, remove an earlier server-generated key. When a
        key is replaced, the old certificate is removed first, so that key and certificate
        never mismatch.
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
        """Remove the staged files of a certificate."""
        self.staged_key(serial_number).unlink(missing_ok=True)
        self.staged_certificate(serial_number).unlink(missing_ok=True)


def write(path: Path, content: bytes, *, mode: int, sync_folder: bool = True) -> None:
    """Write a file atomically. It has `mode` from the moment it exists.

    Args:
        sync_folder: whether to sync the folder of a secret file too, so that the file
            name survives a power failure. The folders of public files are never synced,
            because public files can be restored from the database.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync_folder and mode == SECRET:
        _sync(path.parent)


def read(path: Path) -> bytes | None:
    """Return the content of a file; None if it does not exist."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def read_secret(path: Path) -> bytes | None:
    """Return the content of a secret file; None if it does not exist.

    Raises:
        InsecureFile: the file is not a regular file, its owner is another user (root is
            accepted), or its group or other users have access.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InsecureFile(f"{path.name} is not a regular file") from error
    try:
        _check_secret(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def _check_secret(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InsecureFile(f"{path.name} is not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        raise InsecureFile(f"{path.name} is owned by another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise InsecureFile(f"{path.name} can be read by others; its mode must be 0600")


def has_only_wrong_mode(path: Path) -> bool:
    """Return True if a secret file is this user's regular file, but its mode is not 0600."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    own_file = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    return own_file and stat.S_IMODE(status.st_mode) != SECRET


def _move(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):  # already moved before a crash
        source.rename(target)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
