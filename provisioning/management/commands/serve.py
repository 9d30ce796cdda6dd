"""Run one role in the foreground, for containers and service managers."""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from provisioning.roles import ROLES, command_line
from provisioning.var import empty_metrics_folder


class Command(BaseCommand):
    help = "Run one role in the foreground, with the configured PostgreSQL and Redis."
    requires_system_checks = ()  # the role runs its own checks

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", choices=ROLES)
        parser.add_argument(
            "--port", type=int, help="Port of `web` or `stream` (default: PORT or STREAM_PORT)."
        )

    def handle(self, *args: Any, role: str, port: int | None, **options: Any) -> None:
        port = port or (settings.STREAM_PORT if role == "stream" else settings.PORT)
        if role in ("web", "stream"):
            folder = empty_metrics_folder(f"{role}-{port}")
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        command = command_line(role, port=port)
        os.environ["PROCESS_ROLE"] = role
        os.execv(command[0], command)  # noqa: S606 # so that the role receives signals directly
