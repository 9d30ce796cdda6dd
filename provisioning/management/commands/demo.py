"""Something true to look at on every page: a tenant, a fleet, a day of its history."""

import asyncio
import urllib.request
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from accounts.errors import TenantExists
from accounts.services.tenants import create_tenant
from accounts.services.tokens import revoke_token
from core import uploads
from devices.configurations.models import Scope
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.preferences.services import definitions
from devices.registry.models import Device, EnrollmentToken, Tag
from devices.registry.services import credentials, registration
from devices.remote_control.errors import NobodyFound
from devices.remote_control.services import bulk_commands
from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet, allow_connections
from devices.simulation.tally import Tally
from devices.updates.errors import RolloutOfNothing
from devices.updates.models import SoftwareUpdate
from devices.updates.services import packages, products, rollout_control, rollouts
from devices.updates.services.targets import Size
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand
from tenants.models import Membership, Role, Tenant
from tenants.queries import tenant_by_slug

SLUG, OWNER, SEED, TOKEN = "demo", "demo@example.com", "demo", "demo boxes"
MOST_DEVICES = 2_000
DAY = timedelta(hours=24)
REGISTERING = 300.0  # seconds, at most
TAGS = {"lobby": 3, "bar": 4, "window": 5, "night": 7}  # every so many-th device
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]
ALL = {
    "orientation": "landscape",
    "brightness": 180,
    "volume": 30,
    "time_zone": "Europe/Berlin",
    "locale": "de-DE",
    "schedule": [
        {"days": WEEKDAYS, "on": "07:00", "off": "22:00"},
        {"days": ["saturday", "sunday"], "on": "09:00", "off": "20:00"},
    ],
    "launch": {"url": "https://signage.example.com/"},
    "extra": {"ticker": True},
}
LAYERS = {
    "lobby": {"volume": 10, "launch": {"url": "https://signage.example.com/lobby"}},
    "bar": {"volume": 55, "extra": {"ticker": False}},
    "window": {"orientation": "portrait", "brightness": 255, "volume": 0},
    "night": {
        "brightness": 60,
        "schedule": [{"days": ["friday", "saturday"], "on": "20:00", "off": "03:00"}],
    },
}
COMMANDS: tuple[dict[str, Any], ...] = (
    {"type": "screenshot", "parameters": {"max_width": 640}, "filter": {"tag": "bar"}},
    {"type": "reload", "parameters": {}, "filter": {"tag": "night"}},
    {"type": "set_volume", "parameters": {"volume": 40}, "filter": {}},
)
PREFERENCES: tuple[dict[str, Any], ...] = (
    {"key": "subtitles", "kind": "boolean", "default": False},
    {"key": "theme", "kind": "choice", "choices": ["day", "night"], "default": "day"},
    {"key": "font_size", "kind": "integer", "minimum": 1, "maximum": 9, "default": 4},
)


class Command(OperatorCommand):
    help = (
        "Beside a running server: a tenant, a fleet of simulated boxes with a day of"
        " history, layers, preferences. Again, it goes on with the same boxes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--devices", type=int, default=200, metavar="N")
        parser.add_argument(
            "--seconds", type=float, default=60.0, metavar="S", help="That they live."
        )

    def run(
        self, *args: Any, devices: int, seconds: float, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        if not 1 <= devices <= MOST_DEVICES or not seconds > 0:
            raise CommandError(f"From 1 to {MOST_DEVICES:,} devices, and some seconds.")
        _await_the_server()
        tenant, password = _tenant()
        token = _prepared(tenant)
        fleet, tally = _fleet(token, devices), Tally()
        allow_connections(devices)
        try:
            asyncio.run(self._live(fleet, tenant, tally, seconds))
        except KeyboardInterrupt:
            raise CommandError("Ended; the next time it goes on.") from None
        made = {
            "tenant": tenant.slug,
            "owner": OWNER,
            "password": password,
            "enrollment_token": token,
            **tally.figures(),
        }
        return made, _told(password, token, devices, tally)

    async def _live(
        self, fleet: Fleet, tenant: Tenant, tally: Tally, seconds: float
    ) -> None:
        """The boxes come in, are told what they should be, and live for some time."""
        self._say(f"{fleet.devices} boxes register and report a day of history …")
        living = asyncio.create_task(fleet.run(tally, REGISTERING + seconds))
        until = asyncio.get_running_loop().time() + REGISTERING
        while _there(tally) < fleet.devices and not living.done():
            await asyncio.wait([living], timeout=0.5)
            if asyncio.get_running_loop().time() > until:
                living.cancel()
                raise CommandError(f"Not all boxes came in:\n{tally.table()}")
        self._say(f"They get tags and layers, and live for {seconds:.0f} seconds …")
        await asyncio.to_thread(_in_a_thread, tenant)
        await asyncio.wait([living], timeout=seconds)
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living

    def _say(self, sentence: str) -> None:
        self.stderr.write(sentence)


def _there(tally: Tally) -> int:
    return tally.states["online"] + tally.states["quarantined"]


def _await_the_server() -> None:
    """
    Raises:
        CommandError: nobody answers.
    """
    try:
        with urllib.request.urlopen(f"{settings.PUBLIC_URL}/health/ready", timeout=10):
            return
    except OSError as error:
        raise CommandError(
            f"No server answers at {settings.PUBLIC_URL}: start it with ./run first."
        ) from error


def _tenant() -> tuple[Tenant, str | None]:
    """The demo's tenant; its owner's password, if it is made now.

    Raises:
        CommandError: somebody else has a tenant of this name.
    """
    try:
        new = create_tenant(
            slug=SLUG, name="Demo", owner_email=OWNER, now=timezone.now()
        )
    except TenantExists:
        tenant = tenant_by_slug(SLUG)
        with tenant_scope(tenant.pk):
            owners = Membership.objects.filter(role=Role.OWNER, user__email=OWNER)
            is_ours = owners.exists()
        if not is_ours:
            said = f"There is a tenant {SLUG} that is not the demo's; it is left alone."
            raise CommandError(said) from None
        return tenant, None
    return new.tenant, new.password


def _prepared(tenant: Tenant) -> str:
    """Preferences, the layer of all devices, and a token with which boxes come in."""
    now = timezone.now()
    with tenant_scope(tenant.pk):
        for said in PREFERENCES:
            definitions.define(now=now, **said)
        layers.save(
            subject=Subject(Scope.TENANT), document=ALL, note="As the demo", now=now
        )
        for earlier in EnrollmentToken.objects.usable(now).filter(name=TOKEN):
            revoke_token(earlier, now=now)
        _, token = credentials.create_enrollment_token(
            name=TOKEN, lifetime=timedelta(days=30), now=now
        )
    return token


def _fleet(token: str, devices: int) -> Fleet:
    pace = Pace(
        connect_every=10, report_every=60, start_within=3, silence=0, history=DAY
    )
    return Fleet(
        url=settings.PUBLIC_URL,
        enrollment_token=token,
        devices=devices,
        seed=SEED,
        pace=pace,
        now=timezone.now,
    )


def _in_a_thread(tenant: Tenant) -> None:
    """Beside the boxes; the thread's connection ends with it."""
    try:
        _arrange(tenant)
        _command(tenant)
        _roll_out(tenant)
    finally:
        connection.close()


def _arrange(tenant: Tenant) -> None:
    """Tags on some devices, and what their tags say."""
    now = timezone.now()
    with tenant_scope(tenant.pk):
        boxes = Device.objects.living().filter(name__startswith=f"SIM-{SEED}-")
        for number, device in enumerate(boxes.order_by("name")[:MOST_DEVICES], start=1):
            tags = [tag for tag, each in TAGS.items() if number % each == 0]
            registration.update(device=device, tags=tags, now=now)
        for name, document in LAYERS.items():
            tag = Tag.objects.filter(name=name).first()
            if tag is not None:
                layers.save(
                    subject=Subject(Scope.TAG, tag=tag),
                    document=document,
                    note="As the demo",
                    now=now,
                )


def _command(tenant: Tenant) -> None:
    """What some are told to do now; what more of them are told waits for somebody else."""
    with tenant_scope(tenant.pk):
        owner = (
            Membership.objects.filter(role=Role.OWNER).select_related("user")[0].user
        )
        for command in COMMANDS:
            with suppress(NobodyFound):
                bulk_commands.request(by=owner, now=timezone.now(), **command)


def _roll_out(tenant: Tenant) -> None:
    """A package for everybody, in waves; once."""
    now = timezone.now()
    with tenant_scope(tenant.pk):
        if SoftwareUpdate.objects.exists():
            return
        owner = (
            Membership.objects.filter(role=Role.OWNER).select_related("user")[0].user
        )
        product = products.create(name="player", now=now)
        package = packages.create(
            product=product, version="3.0.0", changelog="Starts faster.", now=now
        )
        spool = uploads.Spool(packages.largest())
        try:
            spool.write(b"a player to look at\n" * 100_000)
            packages.receive(package=package, spooled=spool.finish(), now=now)
        finally:
            spool.remove()
        package = packages.release(package=package, now=now)
        terms = {
            "waves": [Size(percent=10.0), Size(percent=50.0), Size(percent=100.0)],
            "soak_minutes": 0,
        }
        with suppress(RolloutOfNothing):
            row = rollouts.create(package=package, said=terms, by=owner, now=now)
            rollout_control.start(deployment=row, by=owner, now=now)


def _told(password: str | None, token: str, devices: int, tally: Tally) -> str:
    return f"""\
{tally.table()}

  sign in    {settings.PUBLIC_URL}/admin/
  e-mail     {OWNER}
  password   {password or "as it was"}
The boxes are gone now, and go offline in some minutes. They live on with:
  ENROLLMENT_TOKEN={token} ./run manage simulate_fleet --seed {SEED} --devices {devices}"""
