from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from certificates import authorities, revocation_lists
from certificates.device_certificates import DeviceCertificatesService
from tenants.commands import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Build the revocation lists that have news or are old, as beat does; with --all "
        "every one. A root's is built where its key is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", dest="every")

    def run(self, every: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        ca, now = DeviceCertificatesService(), timezone.now()
        authorities.signing_issuer(ca, now=now)
        built = revocation_lists.rebuild_due(ca, now=now, every=every)
        return {"built": built}, f"{built} lists built."
