"""Run a fleet of simulated devices against a server."""

import asyncio
import os
import signal
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet, allow_connections
from devices.simulation.run_statistics import RunStatistics
from tenants.management.operator_command import OperatorCommand

MAX_DEVICES = 20_000  # per process
MAX_HISTORY = 30 * 24  # hours
ENROLLMENT_HELP = (
    "Enrollment token (default: ENROLLMENT_TOKEN in the environment, which keeps it out of"
    " the process list)."
)
SEED_HELP = "Up to 32 letters and digits. The same seed simulates the same devices (default: 1)."
SILENCE_HELP = "Probability at each connect to send nothing for 6 to 20 minutes (default: 0.002)."


def _number(default: float | None, metavar: str, text: str) -> dict[str, Any]:
    return {"type": float, "default": default, "metavar": metavar, "help": text}


OPTIONS: dict[str, dict[str, Any]] = {
    "--url": {
        "default": settings.PUBLIC_URL,
        "help": "Address of the server (default: PUBLIC_URL).",
    },
    "--token": {
        "default": os.environ.get("ENROLLMENT_TOKEN", ""),
        "metavar": "enr_…",
        "help": ENROLLMENT_HELP,
    },
    "--devices": {
        "type": int,
        "default": 50,
        "metavar": "N",
        "help": f"Number of devices, from 1 to {MAX_DEVICES:,} (default: 50).",
    },
    "--seed": {"default": "1", "help": SEED_HELP},
    "--no-push": {
        "action": "store_true",
        "help": "Do not use the push channel; fetch commands only after a connect.",
    },
    "--seconds": _number(None, "S", "Duration of the run in seconds (default: until Ctrl-C)."),
    "--connect-every": _number(
        None, "S", "Seconds between two connects (default: the server's interval)."
    ),
    "--report-every": _number(300.0, "S", "Seconds between two metrics reports (default: 300)."),
    "--start-within": _number(10.0, "S", "Seconds over which the starts are spread (default: 10)."),
    "--silence": _number(0.002, "P", SILENCE_HELP),
    "--history": _number(0.0, "H", "Hours of past metrics that new devices report (default: 0)."),
    "--faults": _number(0.02, "P", "Probability that a software update fails (default: 0.02)."),
}


class Command(OperatorCommand):
    help = (
        "Run simulated devices against a server: they register, connect, report metrics"
        " and execute commands."
    )
    requires_system_checks = ()  # the command uses HTTP and no database

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        for flag, definition in OPTIONS.items():
            parser.add_argument(flag, **definition)

    def run(
        self,
        *args: Any,
        url: str,
        token: str,
        devices: int,
        seconds: float | None,
        seed: str,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        if not 0 <= options["history"] <= MAX_HISTORY:
            raise CommandError(f"--history must be from 0 to {MAX_HISTORY} (hours).")
        pace = FleetTiming(
            connect_every=options["connect_every"],
            report_every=options["report_every"],
            start_within=options["start_within"],
            silence_probability=options["silence"],
            history=timedelta(hours=options["history"]),
            use_push=not options["no_push"],
            update_failure_probability=options["faults"],
        )
        _validate(url, token, devices, seconds, seed, pace)
        allow_connections(devices)
        fleet = Fleet(
            url=url, enrollment_token=token, devices=devices, seed=seed, pace=pace, now=timezone.now
        )
        tally = RunStatistics()
        asyncio.run(self._run_with_table(fleet, tally, seconds))
        return tally.as_json_values(), tally.table()

    async def _run_with_table(
        self, fleet: Fleet, tally: RunStatistics, seconds: float | None
    ) -> None:
        """Run the fleet and redraw the table on a terminal. Ctrl-C stops the run."""
        running = asyncio.create_task(fleet.run(tally, seconds))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        height = 0  # lines of the table on the terminal
        while not running.done():
            await asyncio.wait([running], timeout=1)
            if self.stderr.isatty() and not running.done():
                erase = f"\x1b[{height}A\x1b[J" if height else ""
                table = tally.table()
                height = table.count("\n") + 1
                self.stderr.write(f"{erase}{table}")
        if height:
            self.stderr.write(f"\x1b[{height}A\x1b[J", ending="")
        with suppress(asyncio.CancelledError):
            await running


def _validate(
    url: str, token: str, devices: int, seconds: float | None, seed: str, pace: FleetTiming
) -> None:
    """Check the options.

    Raises:
        CommandError: an option has an invalid value.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError("--url must be an HTTP URL, for example http://localhost:8000.")
    if not token.startswith("enr_"):
        raise CommandError("--token must be an enrollment token (enr_…).")
    if not 1 <= devices <= MAX_DEVICES:
        raise CommandError(f"--devices must be from 1 to {MAX_DEVICES:,}.")
    if not seed.isalnum() or len(seed) > 32:
        raise CommandError("--seed must have 1 to 32 letters or digits.")
    durations = (seconds, pace.connect_every, pace.report_every)
    if any(duration is not None and not duration > 0 for duration in durations):
        raise CommandError("--seconds, --connect-every and --report-every must be more than 0.")
    if not 0 <= pace.update_failure_probability <= 1:
        raise CommandError("--faults must be from 0 to 1.")
    if not 0 <= pace.silence_probability <= 1:
        raise CommandError("--silence must be from 0 to 1.")
    if not 0 <= pace.start_within <= 3600:
        raise CommandError("--start-within must be from 0 to 3600 (seconds).")
