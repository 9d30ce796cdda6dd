from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certificates.errors import AuthorityExists
from certificates.management.key_arguments import add_key_arguments, read_key_arguments
from certificates.models import CertificateAuthority
from certificates.pki.keys import KeyType
from certificates.services import authorities
from certificates.services.device_certificates import DeviceCertificatesService
from core import clock
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = (
        "Create the certificate authority (CA), or import one that was created elsewhere. "
        "If this installation has a CA already, it is not overwritten."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_key_arguments(parser)

    def run(
        self,
        key: Path | None,
        token_key: str | None,
        chain: Path | None,
        key_type: KeyType,
        with_root: bool,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        arguments = read_key_arguments(key, token_key, chain, with_root=with_root)
        ca, now = DeviceCertificatesService(), clock.now()
        if arguments.chain is not None:
            ca.import_ca(
                key=arguments.key, address=arguments.address, chain=arguments.chain, now=now
            )
        elif ca.exists():
            raise AuthorityExists("A CA already exists. It is not overwritten.")
        elif arguments.address is not None:
            ca.certify_token_key(arguments.address, now=now, with_root=with_root)
        else:
            ca.initialize_ca(now=now, key_type=key_type, with_root=with_root)
        row = authorities.ensure_recorded(ca, now=now)
        description = _description(ca, row)
        return description, table(description)


def _description(ca: DeviceCertificatesService, row: CertificateAuthority) -> dict[str, Any]:
    files = ca.store.first
    return {
        "subject": row.subject,
        "key_identifier": row.key_identifier,
        "not_after": row.not_after,
        "certificate": str(files.certificate),
        "key": str(files.key if files.key.exists() else files.key_address),
    }
