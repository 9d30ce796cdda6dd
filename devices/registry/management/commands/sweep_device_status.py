from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from core import clock
from devices.registry.models import Device
from devices.registry.services import presence
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Mark devices as offline that were last seen more than RECENT_THRESHOLD_MS ago."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="Count the devices without marking them."
        )

    def run(self, dry_run: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        now, threshold = clock.now(), settings.RECENT_THRESHOLD
        if dry_run:
            count = Device.every_tenant.silent(now - threshold).count()
            return {"silent": count, "dry_run": True}, f"{count} devices would go offline."
        count = presence.sweep(now=now, threshold=threshold)
        return {"offline": count, "dry_run": False}, f"{count} devices are now offline."
