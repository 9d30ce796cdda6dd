from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from core import clock
from devices.registry.services import moving
from tenants.management.operator_command import OperatorCommand
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = (
        "Move a device to another tenant: revoke its credentials, retire its record, and create"
        " a record with a new token in the other tenant."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("device", type=UUID, help="ID of the device.")
        parser.add_argument("slug", help="Slug of the tenant that gets the device.")

    def run(self, device: UUID, slug: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        moved, token = moving.move(device_id=device, to=tenant_by_slug(slug), now=clock.now())
        result = {"device": str(moved.pk), "token": token}
        return result, f"Device: {moved.pk}\nToken:  {token}"
