from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from devices.registry.errors import InvalidEnrollmentToken
from devices.registry.models import Reregistering
from devices.registry.services import credentials
from devices.registry.services.credentials import LONGEST_LIFETIME
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand
from tenants.queries import tenant_by_slug

MOST_DAYS = LONGEST_LIFETIME.days


class Command(OperatorCommand):
    help = "Make a token with which boxes register themselves in a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug")
        parser.add_argument("--name", default="made by a command")
        parser.add_argument("--max-uses", type=int, metavar="N")
        parser.add_argument("--expires-days", type=int, metavar="N")
        parser.add_argument(
            "--reregistration",
            choices=Reregistering.values,
            default=Reregistering.ROTATE.value,
            help="What comes of a known box that registers again.",
        )

    def run(
        self,
        slug: str,
        name: str,
        max_uses: int | None,
        expires_days: int | None,
        reregistration: str,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        if expires_days is not None and abs(expires_days) > MOST_DAYS:
            raise InvalidEnrollmentToken("At most a hundred years.")
        with tenant_scope(tenant_by_slug(slug).pk):
            _, token = credentials.create_enrollment_token(
                name=name,
                max_uses=max_uses,
                reregistration=reregistration,
                lifetime=None if expires_days is None else timedelta(days=expires_days),
                now=timezone.now(),
            )
        return {"token": token}, token
