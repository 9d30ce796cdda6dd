from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from accounts.services import suspension
from core import clock
from tenants.management.operator_command import OperatorCommand, table
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = (
        "Suspend a tenant: its devices and members are refused until the tenant is resumed."
        " Nothing is deleted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="Slug of the tenant.")
        parser.add_argument("--reason", default="", help="Shown to the members.")
        parser.add_argument(
            "--resume",
            action="store_true",
            help="Resume the tenant instead. If it was to be deleted, it is kept.",
        )

    def run(
        self, slug: str, reason: str, resume: bool, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        tenant, now = tenant_by_slug(slug), clock.now()
        if resume:
            tenant = suspension.resume(tenant=tenant, by_operator=True, now=now)
        else:
            tenant = suspension.suspend(tenant=tenant, reason=reason, by_operator=True, now=now)
        state = "suspended" if tenant.suspended_at else "active"
        result = {"tenant": tenant.slug, "state": state}
        return result, table(result)
