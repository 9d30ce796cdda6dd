"""Command-line arguments for the key and chain of a certificate authority."""

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

from django.core.management.base import CommandError

from certificates.pki.keys import KEY_TYPES


@dataclass(frozen=True, slots=True)
class KeyArguments:
    """A CA key in PEM or its address in a token, and the CA's chain in PEM. All are optional."""

    key: bytes | None
    address: str | None
    chain: bytes | None


def add_key_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, metavar="FILE", help="CA key to import, in PEM.")
    parser.add_argument(
        "--token-key",
        metavar="URI",
        help="CA key in a PKCS #11 token: pkcs11:token=…;object=… (RFC 7512).",
    )
    parser.add_argument(
        "--chain",
        type=Path,
        metavar="FILE",
        help="Certificate chain to import, in PEM, the CA's own certificate first.",
    )
    parser.add_argument(
        "--key-type",
        choices=KEY_TYPES,
        default="rsa",
        help="Type of a new key: RSA-3072 or EC P-384.",
    )
    parser.add_argument(
        "--with-root",
        action="store_true",
        help="Create an issuing CA below a root, whose key can be kept offline.",
    )


def read_key_arguments(
    key: Path | None, token_key: str | None, chain: Path | None, *, with_root: bool
) -> KeyArguments:
    """Check that the arguments can be used together, and read the files that they name.

    Raises:
        CommandError: the arguments exclude each other, or a file cannot be read.
    """
    if key is not None and token_key is not None:
        raise CommandError("--key and --token-key cannot be used together.", returncode=2)
    if key is not None and chain is None:
        raise CommandError("--key requires --chain.", returncode=2)
    if chain is not None and key is None and token_key is None:
        raise CommandError("--chain requires --key or --token-key.", returncode=2)
    if chain is not None and with_root:
        raise CommandError("--chain and --with-root cannot be used together.", returncode=2)
    return KeyArguments(_read(key), token_key, _read(chain))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
