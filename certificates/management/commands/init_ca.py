from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from certificates.device_certificates import DeviceCertificatesService
from certificates.errors import AuthorityExists
from certificates.pki.issuing import Issuer
from certificates.pki.keys import KEY_TYPES, KeyType
from tenants.commands import OperatorCommand, table


class Command(OperatorCommand):
    help = "Make the certificate authority, or import one. Nothing is ever overwritten."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--key", type=Path, metavar="FILE", help="PEM, to import")
        parser.add_argument(
            "--chain", type=Path, metavar="FILE", help="PEM, the CA's own first"
        )
        parser.add_argument("--key-type", choices=KEY_TYPES, default="rsa")

    def run(
        self, key: Path | None, chain: Path | None, key_type: KeyType, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        ca, now = DeviceCertificatesService(), timezone.now()
        if (key is None) != (chain is None):
            raise CommandError("--key and --chain go together.", returncode=2)
        if key is not None and chain is not None:
            issuer = ca.import_ca(key=_read(key), chain=_read(chain), now=now)
        elif ca.exists():
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        else:
            issuer = ca.initialize_ca(now=now, key_type=key_type)
        made = _description(ca, issuer)
        return made, table(made)


def _description(ca: DeviceCertificatesService, issuer: Issuer) -> dict[str, Any]:
    return {
        "subject": issuer.certificate.subject.rfc4514_string(),
        "not_after": issuer.certificate.not_valid_after_utc,
        "certificate": str(ca.store.ca_certificate),
        "key": str(ca.store.ca_key),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
