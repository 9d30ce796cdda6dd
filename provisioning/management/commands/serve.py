"""Run one role in the foreground, for containers and service managers."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from provisioning.roles import ROLES, command_line


class Command(BaseCommand):
    help = "Run one role in the foreground, with the configured PostgreSQL and Redis."
    requires_system_checks = ()  # the role runs its own checks

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", choices=ROLES)
        parser.add_argument(
            "--port", type=int, help="Port of `web` or `stream` (default: PORT or STREAM_PORT)."
        )

    def handle(self, *args: Any, role: str, port: int | None, **options: Any) -> None:
        if role in ("web", "stream"):
            metrics = Path(settings.VAR) / "metrics" / role
            metrics.mkdir(parents=True, exist_ok=True)
            for leftover in metrics.glob("*.db"):  # files of the previous run
                leftover.unlink()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        default_port = settings.STREAM_PORT if role == "stream" else settings.PORT
        command = command_line(role, port=port or default_port)
        os.execv(command[0], command)  # noqa: S606 # so that the role receives signals directly
