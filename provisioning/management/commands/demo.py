"""Create a demo tenant with simulated devices and a day of history."""

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
from core import clock, uploads
from devices.configurations.models import Scope
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.preferences.services import definitions
from devices.registry.models import Device, EnrollmentToken, Tag
from devices.registry.services import credentials, device_details
from devices.remote_control.errors import NoDevicesFound
from devices.remote_control.services import bulk_commands
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet, allow_connections
from devices.simulation.run_statistics import RunStatistics
from devices.updates.errors import NoEligibleDevices
from devices.updates.models import SoftwareUpdate
from devices.updates.services import packages, products, rollout_control, rollouts
from devices.updates.services.targets import WaveSize
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand
from tenants.models import Membership, Role, Tenant, User
from tenants.queries import tenant_by_slug

SLUG = "demo"
OWNER = "demo@example.com"
SEED = "demo"
TOKEN_NAME = "demo devices"  # noqa: S105 # not a secret
NOTE = "Created by the demo"
MAX_DEVICES = 2_000
HISTORY = timedelta(hours=24)
REGISTRATION_TIMEOUT = 300.0  # seconds
TAGS = {"lobby": 3, "bar": 4, "window": 5, "night": 7}  # tag → every n-th device has it
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]
TENANT_LAYER = {
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
TAG_LAYERS = {
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
        "Create a demo tenant on a running server: simulated devices with a day of"
        " history, configurations, preferences, commands and a rollout. Running it again"
        " continues with the same devices."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--devices",
            type=int,
            default=200,
            metavar="N",
            help=f"Number of devices, from 1 to {MAX_DEVICES:,} (default: 200).",
        )
        parser.add_argument(
            "--seconds",
            type=float,
            default=60.0,
            metavar="S",
            help="How long to simulate the devices, in seconds (default: 60).",
        )

    def run(
        self, *args: Any, devices: int, seconds: float, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        if not 1 <= devices <= MAX_DEVICES:
            raise CommandError(f"--devices must be from 1 to {MAX_DEVICES:,}.")
        if not seconds > 0:
            raise CommandError("--seconds must be more than 0.")
        _require_running_server()
        tenant, password = _get_or_create_tenant()
        token = _prepare(tenant)
        fleet, tally = _fleet(token, devices), RunStatistics()
        allow_connections(devices)
        try:
            asyncio.run(self._simulate(fleet, tenant, tally, seconds))
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Run the command again to continue.") from None
        result = {
            "tenant": tenant.slug,
            "owner": OWNER,
            "password": password,
            "enrollment_token": token,
            **tally.as_json_values(),
        }
        return result, _summary(password, token, devices, tally)

    async def _simulate(
        self, fleet: Fleet, tenant: Tenant, tally: RunStatistics, seconds: float
    ) -> None:
        """Register the devices, set up the tenant, and run the devices for some time."""
        self.stderr.write(f"Registering {fleet.devices} devices with a day of history …")
        running = asyncio.create_task(fleet.run(tally, REGISTRATION_TIMEOUT + seconds))
        deadline = asyncio.get_running_loop().time() + REGISTRATION_TIMEOUT
        while _registered(tally) < fleet.devices and not running.done():
            await asyncio.wait([running], timeout=0.5)
            if asyncio.get_running_loop().time() > deadline:
                running.cancel()
                raise CommandError(f"Not all devices registered in time:\n{tally.table()}")
        self.stderr.write(
            "Assigning tags, configurations, commands and a rollout. The devices run for"
            f" {seconds:.0f} seconds …"
        )
        await asyncio.to_thread(_set_up, tenant)
        await asyncio.wait([running], timeout=seconds)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def _registered(tally: RunStatistics) -> int:
    return tally.states["online"] + tally.states["quarantined"]


def _require_running_server() -> None:
    """Check that the server is running.

    Raises:
        CommandError: no server responds at `PUBLIC_URL`.
    """
    try:
        with urllib.request.urlopen(f"{settings.PUBLIC_URL}/health/ready", timeout=10):  # noqa: S310 # our own address # nosec B310
            return
    except OSError as error:
        raise CommandError(
            f"No server responds at {settings.PUBLIC_URL}. Start the server with ./run first."
        ) from error


def _get_or_create_tenant() -> tuple[Tenant, str | None]:
    """Return the demo's tenant, and the owner's password if the tenant is new.

    Raises:
        CommandError: the existing tenant with this slug was not created by the demo.
    """
    try:
        new = create_tenant(slug=SLUG, name="Demo", owner_email=OWNER, now=clock.now())
    except TenantExists:
        tenant = tenant_by_slug(SLUG)
        with tenant_scope(tenant.pk):
            owners = Membership.objects.filter(role=Role.OWNER, user__email=OWNER)
            created_by_demo = owners.exists()
        if not created_by_demo:
            raise CommandError(
                f"The tenant {SLUG!r} was not created by the demo. It was not changed."
            ) from None
        return tenant, None
    return new.tenant, new.password


def _prepare(tenant: Tenant) -> str:
    """Define preferences and the tenant's configuration. Return an enrollment token.

    Enrollment tokens of earlier runs are revoked.
    """
    now = clock.now()
    with tenant_scope(tenant.pk):
        for definition in PREFERENCES:
            definitions.define(now=now, **definition)
        layers.save(subject=Subject(Scope.TENANT), document=TENANT_LAYER, note=NOTE, now=now)
        for row in EnrollmentToken.objects.usable(now).filter(name=TOKEN_NAME):
            revoke_token(row, now=now)
        _, token = credentials.create_enrollment_token(
            name=TOKEN_NAME, lifetime=timedelta(days=30), now=now
        )
    return token


def _fleet(token: str, devices: int) -> Fleet:
    pace = FleetTiming(
        connect_every=10, report_every=60, start_within=3, silence_probability=0, history=HISTORY
    )
    return Fleet(
        url=settings.PUBLIC_URL,
        enrollment_token=token,
        devices=devices,
        seed=SEED,
        pace=pace,
        now=timezone.now,
    )


def _set_up(tenant: Tenant) -> None:
    """Create tags, layers, commands and a rollout. Runs in a thread while the devices run."""
    try:
        _assign_tags_and_layers(tenant)
        _send_commands(tenant)
        _start_rollout(tenant)
    finally:
        connection.close()


def _assign_tags_and_layers(tenant: Tenant) -> None:
    now = clock.now()
    with tenant_scope(tenant.pk):
        devices = Device.objects.not_retired().filter(name__startswith=f"SIM-{SEED}-")
        devices = devices.order_by("name")[:MAX_DEVICES]
        for number, device in enumerate(devices, start=1):
            tags = [tag for tag, interval in TAGS.items() if number % interval == 0]
            device_details.update(device=device, tags=tags, now=now)
        for name, document in TAG_LAYERS.items():
            tag = Tag.objects.filter(name=name).first()
            if tag is not None:
                layers.save(
                    subject=Subject(Scope.TAG, tag=tag), document=document, note=NOTE, now=now
                )


def _owner() -> User:
    """Return an owner of the current tenant."""
    return Membership.objects.filter(role=Role.OWNER).select_related("user")[0].user


def _send_commands(tenant: Tenant) -> None:
    """Request bulk commands. A command to many devices requires a second member's approval."""
    with tenant_scope(tenant.pk):
        owner = _owner()
        for command in COMMANDS:
            with suppress(NoDevicesFound):
                bulk_commands.request(by=owner, now=clock.now(), **command)


def _start_rollout(tenant: Tenant) -> None:
    """Start a rollout to all devices in waves, unless the tenant already has a package."""
    now = clock.now()
    with tenant_scope(tenant.pk):
        if SoftwareUpdate.objects.exists():
            return
        owner = _owner()
        product = products.create(name="player", now=now)
        package = packages.create(
            product=product, version="3.0.0", changelog="Starts faster.", now=now
        )
        spool = uploads.UploadWriter(packages.max_package_size())
        try:
            spool.write(b"a demo player package\n" * 100_000)
            packages.receive(package=package, spooled=spool.finish(), now=now)
        finally:
            spool.remove()
        package = packages.release(package=package, now=now)
        terms = {
            "waves": [WaveSize(percent=10.0), WaveSize(percent=50.0), WaveSize(percent=100.0)],
            "soak_minutes": 0,
        }
        with suppress(NoEligibleDevices):
            rollout = rollouts.create(package=package, values=terms, by=owner, now=now)
            rollout_control.start(deployment=rollout, by=owner, now=now)


def _summary(password: str | None, token: str, devices: int, tally: RunStatistics) -> str:
    return f"""\
{tally.table()}

  sign in    {settings.PUBLIC_URL}/admin/
  e-mail     {OWNER}
  password   {password or "unchanged"}
The simulated devices have stopped and go offline in a few minutes. To run them again:
  ENROLLMENT_TOKEN={token} ./run manage simulate_fleet --seed {SEED} --devices {devices}"""
