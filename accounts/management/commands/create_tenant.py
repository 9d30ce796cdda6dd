from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from accounts.services import tenants
from core import clock
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = "Create a tenant and, with --owner, its first member with an API token."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "slug", help="Name in commands: letters, digits, hyphens and underscores."
        )
        parser.add_argument("--name", default="", help="Name in the portal. Default: the slug.")
        parser.add_argument(
            "--owner", metavar="EMAIL", help="E-mail address of the tenant's owner."
        )

    def run(
        self, slug: str, name: str, owner: str | None, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        new = tenants.create_tenant(slug=slug, name=name, owner_email=owner, now=clock.now())
        result = {
            "tenant": new.tenant.slug,
            "owner": new.owner.email if new.owner else None,
            "password": new.password,
            "token": new.token,
        }
        return result, table({key: value or "-" for key, value in result.items()})
