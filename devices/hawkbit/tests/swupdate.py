"""Run Debian's SWUpdate as a device, with images that are made here."""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAM = "swupdate"
REVISION = "1.0"  # of the hardware
CONFIRM_SUCCESS = "2"  # argument of `-c`


@dataclass(slots=True)
class Board:
    """A board that runs SWUpdate.

    Attributes:
        folder: where it installs files and writes its log.
        url, tenant, controller_id, authorization: of the server. The last is `-k` or `-g` and a
            token.
    """

    folder: Path
    url: str
    tenant: str
    controller_id: str
    authorization: tuple[str, str]
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def running(self, certificate: Path, *arguments: str) -> Iterator[None]:
        """Run SWUpdate until the block ends.

        Args:
            certificate: with which images have to be signed.
            arguments: more arguments for the connection to the server.
        """
        pairs = "".join(
            f'{{ name = "{name}"; value = "{value}"; }}, '
            for name, value in self.attributes.items()
        ).rstrip(", ")
        configuration = self.folder / "swupdate.cfg"
        configuration.write_text(f"globals : {{ }};\nidentify : ( {pairs} );\n")
        connection = ["-t", self.tenant, "-u", self.url, "-i", self.controller_id]
        connection += [*self.authorization, *arguments]
        command = [PROGRAM, "-f", str(configuration), "-l", "5", "-k", str(certificate)]
        command += ["-H", f"board:{REVISION}"]
        command += ["-u", " ".join(connection)]
        # The sockets are in this folder, whose path has to be short.
        with TemporaryDirectory() as sockets, open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "TMPDIR": sockets},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def signing_certificate(folder: Path, name: str) -> Path:
    """Create a key and a certificate that may sign images. Return the path of the certificate."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
    command += ["-days", "30", "-addext", "keyUsage=digitalSignature"]
    command += ["-addext", "extendedKeyUsage=emailProtection"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


def image(content: bytes, *, target: Path, version: str, signer: Path | None) -> bytes:
    """Return an image that installs a file.

    Args:
        target: where the file is installed.
        signer: a certificate of `signing_certificate`; None for an image without a signature.
    """
    digest = hashlib.sha256(content).hexdigest()
    description = (
        f'software = {{ version = "{version}"; hardware-compatibility: [ "{REVISION}" ];'
        f' files: ( {{ filename = "content"; path = "{target}"; sha256 = "{digest}"; }} ); }}\n'
    ).encode()
    members = [("sw-description", description)]
    if signer is not None:
        members.append(("sw-description.sig", _signature(description, signer)))
    members.append(("content", content))
    return _archive(members)


def _signature(description: bytes, signer: Path) -> bytes:
    command = ["openssl", "cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER"]
    command += ["-signer", str(signer), "-inkey", str(signer.with_suffix(".key"))]
    return subprocess.run(command, input=description, check=True, capture_output=True).stdout


def _archive(members: list[tuple[str, bytes]]) -> bytes:
    """Return a CPIO archive in the format `newc` with checksums."""
    archive = b""
    for number, (name, content) in enumerate([*members, ("TRAILER!!!", b"")], start=1):
        is_trailer = name == "TRAILER!!!"
        checksum = sum(content) & 0xFFFFFFFF
        fields = [0 if is_trailer else number, 0 if is_trailer else 0o100644, 0, 0, 1, 0]
        fields += [len(content), 0, 0, 0, 0, len(name) + 1, checksum]
        header = b"070702" + "".join(f"{value:08X}" for value in fields).encode()
        archive += _padded(header + name.encode() + b"\x00") + _padded(content)
    return archive


def _padded(data: bytes) -> bytes:
    return data + b"\x00" * (-len(data) % 4)


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None
