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

from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet, allow_connections
from devices.simulation.tally import Tally
from tenants.management.operator_command import OperatorCommand

MOST_DEVICES = 20_000  # of one process
LONGEST_HISTORY = 30 * 24  # hours


class Command(OperatorCommand):
    help = (
        "Let so many boxes live at a server: they register, connect, report and obey."
    )
    requires_system_checks = ()  # it speaks to a server, and to no database

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--url", default=settings.PUBLIC_URL)
        parser.add_argument(
            "--token",
            default=os.environ.get("ENROLLMENT_TOKEN", ""),
            metavar="enr_…",
            help="Or ENROLLMENT_TOKEN in the environment, where nobody sees it.",
        )
        parser.add_argument("--devices", type=int, default=50, metavar="N")
        parser.add_argument(
            "--seconds", type=float, metavar="S", help="Left out: until Ctrl-C."
        )
        parser.add_argument(
            "--seed", default="1", help="The same seed is the same boxes again."
        )
        parser.add_argument(
            "--connect-every",
            type=float,
            metavar="S",
            help="Seconds; left out: as the server says.",
        )
        parser.add_argument(
            "--report-every", type=float, default=300.0, metavar="S", help="Seconds."
        )
        parser.add_argument(
            "--start-within",
            type=float,
            default=10.0,
            metavar="S",
            help="Seconds in which all of them begin.",
        )
        parser.add_argument(
            "--silence",
            type=float,
            default=0.002,
            metavar="P",
            help="The chance at each connect to go silent for 6 to 20 minutes.",
        )
        parser.add_argument(
            "--history",
            type=float,
            default=0.0,
            metavar="H",
            help="Hours of the past that new boxes report at their beginning.",
        )
        parser.add_argument(
            "--faults",
            type=float,
            default=0.02,
            metavar="P",
            help="The chance that a software update of a box fails.",
        )
        parser.add_argument(
            "--no-push",
            action="store_true",
            help="Let them learn of commands when they connect alone.",
        )

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
        if not 0 <= options["history"] <= LONGEST_HISTORY:
            raise CommandError(f"--history is at most {LONGEST_HISTORY} hours.")
        pace = Pace(
            connect_every=options["connect_every"],
            report_every=options["report_every"],
            start_within=options["start_within"],
            silence=options["silence"],
            history=timedelta(hours=options["history"]),
            listens=not options["no_push"],
            faults=options["faults"],
        )
        _refuse(url, token, devices, seconds, seed, pace)
        allow_connections(devices)
        fleet = Fleet(
            url=url,
            enrollment_token=token,
            devices=devices,
            seed=seed,
            pace=pace,
            now=timezone.now,
        )
        tally = Tally()
        asyncio.run(self._watched(fleet, tally, seconds))
        return tally.figures(), tally.table()

    async def _watched(self, fleet: Fleet, tally: Tally, seconds: float | None) -> None:
        """Run, and redraw the table on a terminal; Ctrl-C ends it in good order."""
        running = asyncio.create_task(fleet.run(tally, seconds))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        drawn = 0
        while not running.done():
            await asyncio.wait([running], timeout=1)
            if self.stderr.isatty() and not running.done():
                up = f"\x1b[{drawn}A\x1b[J" if drawn else ""
                table = tally.table()
                drawn = table.count("\n") + 1
                self.stderr.write(f"{up}{table}")
        if drawn:
            self.stderr.write(f"\x1b[{drawn}A\x1b[J", ending="")
        with suppress(asyncio.CancelledError):
            await running


def _refuse(
    url: str, token: str, devices: int, seconds: float | None, seed: str, pace: Pace
) -> None:
    """
    Raises:
        CommandError: it could not be done as it is said.
    """
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise CommandError("--url is like http://localhost:8000.")
    if not token.startswith("enr_"):
        raise CommandError("--token is an enrollment token: enr_….")
    if not 1 <= devices <= MOST_DEVICES:
        raise CommandError(f"--devices is from 1 to {MOST_DEVICES:,}.")
    if not seed.isalnum() or len(seed) > 32:
        raise CommandError("--seed has letters and digits, at most 32.")
    spans = (seconds, pace.connect_every, pace.report_every)
    if any(span is not None and not span > 0 for span in spans):
        raise CommandError("Times are in seconds, more than 0.")
    if not 0 <= pace.faults <= 1:
        raise CommandError("--faults is from 0 to 1.")
    if not 0 <= pace.silence <= 1 or not 0 <= pace.start_within <= 3600:
        raise CommandError("--silence is from 0 to 1, --start-within from 0 to 3600.")
