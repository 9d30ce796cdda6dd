from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from accounts.services import tenants
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = "Make a tenant and, with --owner, its first member and their API token."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug")
        parser.add_argument("--name", default="")
        parser.add_argument("--owner", metavar="EMAIL")

    def run(
        self, slug: str, name: str, owner: str | None, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        new = tenants.create_tenant(
            slug=slug, name=name, owner_email=owner, now=timezone.now()
        )
        made = {
            "tenant": new.tenant.slug,
            "owner": new.owner.email if new.owner else None,
            "password": new.password,
            "token": new.token,
        }
        return made, table({key: value or "-" for key, value in made.items()})
