from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core import clock
from devices.registry.errors import InvalidEnrollmentToken
from devices.registry.models import ReregistrationPolicy
from devices.registry.services import credentials
from devices.registry.services.credentials import MAX_LIFETIME
from devices.registry.services.sites import find_site
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand
from tenants.queries import tenant_by_slug

MAX_DAYS = MAX_LIFETIME.days


class Command(OperatorCommand):
    help = "Create an enrollment token, which devices use to register in a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="Slug of the tenant.")
        parser.add_argument(
            "--name",
            default="created by a command",
            help="Name of the token (default: %(default)s).",
        )
        parser.add_argument(
            "--max-uses",
            type=int,
            metavar="N",
            help="Number of new devices that may register (default: unlimited).",
        )
        parser.add_argument(
            "--expires-days", type=int, metavar="N", help="Validity in days (default: unlimited)."
        )
        parser.add_argument(
            "--reregistration",
            choices=ReregistrationPolicy.values,
            default=ReregistrationPolicy.ROTATE.value,
            help="How to treat a registered device that registers again.",
        )

        parser.add_argument(
            "--tag",
            action="append",
            default=[],
            dest="tags",
            metavar="NAME",
            help="Tag for new devices. Can be given several times.",
        )
        parser.add_argument(
            "--site", metavar="NAME", help="Name or id of the site at which new devices stand."
        )

    def run(
        self,
        slug: str,
        name: str,
        max_uses: int | None,
        expires_days: int | None,
        reregistration: str,
        tags: list[str],
        site: str | None,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        if expires_days is not None and abs(expires_days) > MAX_DAYS:
            raise InvalidEnrollmentToken("A token is valid for at most 100 years.")
        with tenant_scope(tenant_by_slug(slug).pk):
            _, token = credentials.create_enrollment_token(
                name=name,
                max_uses=max_uses,
                reregistration=reregistration,
                tags=tags,
                site=None if site is None else find_site(site),
                lifetime=None if expires_days is None else timedelta(days=expires_days),
                now=clock.now(),
            )
        return {"token": token}, token
