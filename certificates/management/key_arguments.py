"""How the operator's commands are told which key and chain an authority has."""

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

from django.core.management.base import CommandError

from certificates.pki.keys import KEY_TYPES


@dataclass(frozen=True, slots=True)
class Given:
    """A key in PEM or by its address in a token, and a chain in PEM, as far as given."""

    key: bytes | None
    address: str | None
    chain: bytes | None


def add_key_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, metavar="FILE", help="PEM, to import")
    parser.add_argument(
        "--token-key", metavar="URI", help="pkcs11:token=…;object=…, instead of a file"
    )
    parser.add_argument(
        "--chain", type=Path, metavar="FILE", help="PEM, the CA's own first"
    )
    parser.add_argument(
        "--key-type",
        choices=KEY_TYPES,
        default="rsa",
        help="of a new key: RSA-3072 or EC P-384",
    )
    parser.add_argument(
        "--with-root",
        action="store_true",
        help="Make it an issuing CA below a root, whose key can be taken away.",
    )


def given_key(
    key: Path | None, token_key: str | None, chain: Path | None, *, with_root: bool
) -> Given:
    """Read what was given.

    Raises:
        CommandError: it does not go together, or cannot be read.
    """
    if key is not None and token_key is not None:
        raise CommandError("--key and --token-key exclude each other.", returncode=2)
    if key is not None and chain is None:
        raise CommandError("--key and --chain go together.", returncode=2)
    if chain is not None and key is None and token_key is None:
        raise CommandError("--key and --chain go together.", returncode=2)
    if chain is not None and with_root:
        raise CommandError("--with-root makes a new chain.", returncode=2)
    return Given(_read(key), token_key, _read(chain))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
