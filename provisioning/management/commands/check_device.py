"""Watch a device, and say what of the protocol it does right, wrong or not at all."""

import time
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from core import clock
from devices.registry.models import Device, DeviceToken
from provisioning.device_check import WRONG, Finding, Watch
from tenants import tokens
from tenants.context import tenant_scope
from tenants.management.operator_command import CommandFailed, OperatorCommand

MAX_MINUTES = 60
INTERVAL = 1.0  # seconds between two looks at the device


class Command(OperatorCommand):
    help = (
        "Watch a device for some minutes, and say what of the protocol it does right, wrong or"
        " not at all. Nothing is sent to the device. Exit status 1: something is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        device = parser.add_mutually_exclusive_group(required=True)
        device.add_argument("--token", metavar="dev_…", help="The token of the device.")
        device.add_argument("--device", type=UUID, metavar="ID", help="The id of the device.")
        parser.add_argument(
            "--minutes", type=float, default=5, metavar="M", help="How long (default: 5)."
        )

    def run(
        self, *, token: str | None, device: UUID | None, minutes: float, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        if not 0 < minutes <= MAX_MINUTES:
            raise CommandError(f"--minutes must be more than 0, at most {MAX_MINUTES}.")
        row = _find(token, device)
        with tenant_scope(row.tenant_id):
            findings = self._watch(row, minutes)
        result = {"device": str(row.pk), "findings": [asdict(finding) for finding in findings]}
        text = "\n".join(_line(finding) for finding in findings)
        if wrong := sum(finding.verdict == WRONG for finding in findings):
            self.stderr.write(text)
            raise CommandFailed(f"{wrong} of {len(findings)} parts are wrong.", result)
        return result, text

    def _watch(self, device: Device, minutes: float) -> list[Finding]:
        watch = Watch.begin(device, now=clock.now())
        end = watch.started + timedelta(minutes=minutes)
        self.stderr.write(f"Watching {device} for {minutes:g} minutes. Ctrl-C ends it early.")
        try:
            while clock.now() < end:
                time.sleep(INTERVAL)
                watch.look()
        except KeyboardInterrupt:
            pass
        return watch.findings()


def _find(token: str | None, device_id: UUID | None) -> Device:
    """Return the device.

    Raises:
        CommandError: no device has this token or id.
    """
    devices = Device.every_tenant.all()
    if device_id is not None:
        device = devices.filter(pk=device_id).first()
    else:
        found = DeviceToken.every_tenant.filter(digest=tokens.digest(token or ""))
        device = devices.filter(pk__in=found.values("device_id")).first()
    if device is None:
        raise CommandError("No device has this token." if token else "No device has this id.")
    return device


def _line(finding: Finding) -> str:
    return f"{finding.verdict:<9} {finding.topic:<14} {finding.detail}"
