"""Tests of push notifications and command verification of simulated devices."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.services.device_certificates import DeviceCertificatesService
from devices.registry.models import Device
from devices.registry.services import credentials
from devices.registry.tests.waiting import wait_until
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import signing
from devices.remote_control.tests.remote_control import create_member, issue_command, online_device
from devices.simulation.commands import CommandClient
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet
from devices.simulation.run_statistics import RunStatistics
from devices.simulation.screen import Screen
from devices.simulation.tests.background_fleet import running_fleet
from provisioning.tests.push_channel import Channel, running_channel
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
class TestPushNotifications:
    @pytest.fixture
    def tenant(self) -> Tenant:
        return TenantFactory.create()

    @pytest.fixture
    def channel(self) -> Iterator[Channel]:
        yield from running_channel()

    @pytest.fixture
    def devices(
        self, tenant: Tenant, live_server: Any, channel: Channel, settings: Any
    ) -> Iterator[list[Device]]:
        """Run three devices that connect so rarely that only push notifications reach them."""
        settings.RATES = dict.fromkeys(settings.RATES)
        settings.PUBLIC_URL, settings.STREAM_URL = live_server.url, channel.base
        with tenant_scope(tenant.pk):
            _, token = credentials.create_enrollment_token(name="t", now=NOW)
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=token,
            devices=3,
            seed="push",
            pace=FleetTiming(
                connect_every=600,
                start_within=0.1,
                silence_probability=0,
                command_failure_probability=0,
            ),
            now=lambda: datetime.now(UTC),
        )
        with running_fleet(fleet) as tally:
            wait_until(lambda: tally.listening == 3)
            yield list(Device.every_tenant.order_by("name"))

    def test_pushed_commands_are_executed(self, devices: list[Device]) -> None:
        operator = create_member(devices[0].tenant)
        for device in devices:
            issue_command(device, "reload", by=operator, now=datetime.now(UTC))
        issue_command(devices[0], "screenshot", by=operator, now=datetime.now(UTC))

        succeeded = CommandHistory.every_tenant.filter(status="succeeded")
        wait_until(lambda: succeeded.count() == 4)
        assert Screenshot.every_tenant.get().device == devices[0]


def trust_ca(client: CommandClient) -> None:
    """Give the device the CA chain that it normally receives together with its certificate."""
    issuer = DeviceCertificatesService().initialize_ca(now=NOW)
    pem = [certificate.public_bytes(Encoding.PEM).decode() for certificate in issuer.chain]
    client.chain = "".join(pem)


class Server:
    """Answer the requests of a simulated device by calling the services."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.commands: list[dict[str, Any]] = []
        keys = signing.key_set(now=NOW)
        endorsement = signing.endorsement(keys, device=device, now=NOW)
        self.keys: dict[str, Any] = {"keys": keys, "endorsement": endorsement}
        self.answers: list[tuple[str, str]] = []

    def add_command(self, command: CommandHistory, **claims: Any) -> None:
        key = signing.current_key(now=NOW)
        for name, value in claims.items():
            setattr(command, name, value)
        signed = signing.sign_command(command, key, more={})
        row = {"id": str(command.pk), "sequence": command.sequence, "signed": signed}
        self.commands.append(row)

    async def call(self, kind: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if kind == "commands":
            after = int(path.partition("after=")[2])
            new_commands = [row for row in self.commands if row["sequence"] > after]
            return 200, {"results": new_commands}
        if kind == "keys":
            return 200, self.keys
        self.answers.append((path.split("/")[-2], body["status"]))
        return 204, None


@pytest.mark.django_db
class TestCommandVerification:
    @pytest.fixture
    def device(self, acting: Tenant) -> Device:
        return online_device(acting)

    @pytest.fixture
    def command(self, device: Device) -> CommandHistory:
        return issue_command(
            device,
            "set_volume",
            parameters={"volume": 80},
            by=create_member(device.tenant),
            now=NOW,
        )

    @pytest.fixture
    def server(self, device: Device) -> Server:
        return Server(device)

    @pytest.fixture
    def client(self, device: Device, server: Server) -> CommandClient:
        return CommandClient(
            call=server.call,
            tally=RunStatistics(),
            random=Random(1),
            now=NOW.timestamp,
            screen=Screen("device", hue=0.5),
            start_update_check=lambda: None,
            device_id=str(device.pk),
        )

    @pytest.fixture
    def fetch(self, client: CommandClient) -> Callable[[], int]:
        """Return a function that fetches commands and returns how many were rejected."""

        def run() -> int:
            asyncio.run(client.fetch())
            kind = client.tally.kinds.get("command rejected")
            return kind.statuses.total() if kind else 0

        return run

    def test_a_valid_command_is_executed(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.add_command(command)

        assert fetch() == 0
        assert (client.screen.volume, client.last_sequence) == (80, 1)
        assert server.answers == [(str(command.pk), "succeeded")]

    @pytest.mark.parametrize(
        "claims",
        [
            {"device_id": "00000000-0000-0000-0000-000000000000"},
            {"expires_at": NOW},
            {"expires_at": NOW - timedelta(days=1)},
        ],
        ids=["for another device", "expires now", "expired"],
    )
    def test_a_command_for_another_device_or_expired_is_rejected(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
        claims: dict[str, Any],
    ) -> None:
        server.add_command(command, **claims)

        assert fetch() == 1
        assert (client.screen.volume, server.answers) == (30, [])

    def test_a_repeated_command_is_rejected(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.add_command(command)
        fetch()
        server.commands[0]["sequence"] = 2  # forges the unsigned sequence number

        assert fetch() == 1
        assert len(server.answers) == 1

    def test_a_key_without_endorsement_is_rejected(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        trust_ca(client)
        server.add_command(command)
        server.keys = json.loads(json.dumps(server.keys))
        server.keys["keys"][0]["x"] = "A" * 43

        fetch()
        assert client.tally.kinds["keys rejected"].failed == 1
        assert (client.last_sequence, server.answers) == (0, [])

    def test_keys_endorsed_for_another_device_are_rejected(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        trust_ca(client)
        other = online_device(server.device.tenant)
        keys = server.keys["keys"]
        endorsement = signing.endorsement(keys, device=other, now=NOW)
        server.keys = {"keys": keys, "endorsement": endorsement}
        server.add_command(command)

        fetch()
        assert (client.last_sequence, server.answers) == (0, [])

    def test_an_unsigned_sequence_number_is_not_stored(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.commands = [{"id": "x", "sequence": 2**53 - 1, "signed": "a.b.c"}]
        fetch()
        server.commands = []
        server.add_command(command)

        fetch()
        assert server.answers == [(str(command.pk), "succeeded")]

    def test_a_command_by_an_endorsed_key_is_executed(
        self,
        server: Server,
        client: CommandClient,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        trust_ca(client)
        server.add_command(command)

        assert fetch() == 0
