from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core import clock
from devices.hawkbit.errors import InvalidGatewayToken
from devices.hawkbit.services import gateway_tokens
from devices.registry.services.credentials import MAX_LIFETIME
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = "Create a token for hawkBit gateways of a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="Slug of the tenant.")
        parser.add_argument(
            "--name",
            default="created by a command",
            help="Name of the token (default: %(default)s).",
        )
        parser.add_argument(
            "--register",
            action="store_true",
            help="Unknown devices are registered when they poll for the first time.",
        )
        parser.add_argument(
            "--expires-days", type=int, metavar="N", help="Validity in days (default: unlimited)."
        )

    def run(
        self, slug: str, name: str, register: bool, expires_days: int | None, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        if expires_days is not None and abs(expires_days) > MAX_LIFETIME.days:
            raise InvalidGatewayToken("A token is valid for at most 100 years.")
        with tenant_scope(tenant_by_slug(slug).pk):
            _, token = gateway_tokens.create_gateway_token(
                name=name,
                registers_devices=register,
                lifetime=None if expires_days is None else timedelta(days=expires_days),
                now=clock.now(),
            )
        return {"token": token}, token
