from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from certificates.services import authorities, revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from core import clock
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Build the revocation lists with new entries and those due for a rebuild, as the "
        "scheduled task does. The list of a root can only be built on a host that has the "
        "key of the root."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", dest="every", help="Build all lists.")
        parser.add_argument(
            "--import",
            type=Path,
            metavar="FILE",
            dest="given",
            help="Import a revocation list (DER) that was signed elsewhere, for example by an offline root CA.",
        )

    def run(
        self, every: bool, given: Path | None = None, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        ca, now = DeviceCertificatesService(), clock.now()
        if given is not None:
            row = revocation_lists.import_list(_read(given))
            text = f"Imported list {row.number}, valid until {row.next_update}."
            return {"number": row.number, "next_update": row.next_update}, text
        authorities.signing_issuer(ca, now=now)
        built = revocation_lists.rebuild_due(ca, now=now, every=every)
        return {"built": built}, f"Revocation lists built: {built}."


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
