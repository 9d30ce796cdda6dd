"""An agent executes only commands that the server has signed for it, and each of them once."""

import asyncio
import json
from collections.abc import Iterator
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
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet
from devices.simulation.tests.background_fleet import running_fleet
from provisioning.tests.push_channel import Channel, running_channel
from provisioning_agent.commands import Commands
from provisioning_agent.hooks import Hooks
from provisioning_agent.http import Http, Response
from provisioning_agent.session import Session
from provisioning_agent.state import MemoryStore
from tenants.context import tenant_scope
from tenants.models import Tenant

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Server(Http):
    """Answer the requests of an agent by calling the services."""

    def __init__(self, device: Device) -> None:
        super().__init__("http://server")
        self.device = device
        self.commands: list[dict[str, Any]] = []
        self.answers: list[tuple[str, str]] = []
        self.rejected: list[str] = []
        self.sends_keys = True  # together with the commands
        keys = signing.key_set(now=NOW)
        endorsement = signing.endorsement(keys, device=device, now=NOW)
        self.keys: dict[str, Any] = {"keys": keys, "endorsement": endorsement}

    def add_command(self, command: CommandHistory, **claims: Any) -> None:
        key = signing.current_key(now=NOW)
        for name, value in claims.items():
            setattr(command, name, value)
        signed = signing.sign_command(command, key, more={})
        row = {"id": str(command.pk), "sequence": command.sequence, "signed": signed}
        self.commands.append(row)

    def observe(self, kind: str, status: int, seconds: float) -> None:
        self.rejected.append(kind)

    async def request(
        self, kind: str, method: str, path: str, body: Any = None, **options: Any
    ) -> Response:
        if kind == "commands":
            after = int(path.partition("after=")[2].partition("&")[0])
            new_commands = [row for row in self.commands if row["sequence"] > after]
            keys = self.keys if "keys=true" in path and self.sends_keys else {}
            return Response(200, {"results": new_commands, **keys})
        if kind == "keys":
            return Response(200, self.keys)
        self.answers.append((path.split("/")[-2], body["status"]))
        return Response(204)


class Agent:
    """The commands of an agent that has the certificate of a device."""

    def __init__(self, server: Server, *, has_certificate: bool = False) -> None:
        self.executed: list[dict[str, Any]] = []
        hooks, store = Hooks(), MemoryStore()
        hooks.add("command-set_volume", self.executed.append)
        store.state.device_id, store.state.token = str(server.device.pk), "dev_x"
        if has_certificate:
            issuer = DeviceCertificatesService().initialize_ca(now=NOW)
            pem = [certificate.public_bytes(Encoding.PEM).decode() for certificate in issuer.chain]
            store.state.chain = "".join(pem)
        self.state = store.state
        session = Session(server, store, now=NOW.timestamp, random=Random(1))
        self.commands = Commands(
            session, hooks, check_update=lambda: None, boot_id=lambda: "boot-1"
        )

    def fetch(self) -> None:
        asyncio.run(self.commands.fetch())


@pytest.mark.django_db
class TestVerification:
    @pytest.fixture
    def device(self, acting: Tenant) -> Device:
        return online_device(acting)

    @pytest.fixture
    def command(self, device: Device) -> CommandHistory:
        member = create_member(device.tenant)
        parameters = {"volume": 80}
        return issue_command(device, "set_volume", parameters=parameters, by=member, now=NOW)

    @pytest.fixture
    def server(self, device: Device) -> Server:
        return Server(device)

    @pytest.mark.parametrize("has_certificate", [False, True])
    @pytest.mark.parametrize("sends_keys", [False, True])
    def test_a_valid_command_is_executed(
        self, server: Server, command: CommandHistory, has_certificate: bool, sends_keys: bool
    ) -> None:
        server.sends_keys = sends_keys
        agent = Agent(server, has_certificate=has_certificate)
        server.add_command(command)

        agent.fetch()

        assert (agent.executed, agent.state.last_sequence) == ([{"volume": 80}], 1)
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
        self, server: Server, command: CommandHistory, claims: dict[str, Any]
    ) -> None:
        agent = Agent(server)
        server.add_command(command, **claims)

        agent.fetch()

        assert server.rejected == ["command rejected"]
        assert (agent.executed, server.answers) == ([], [])

    def test_a_repeated_command_is_rejected(self, server: Server, command: CommandHistory) -> None:
        agent = Agent(server)
        server.add_command(command)
        agent.fetch()
        server.commands[0]["sequence"] = 2  # forges the unsigned sequence number

        agent.fetch()

        assert (len(agent.executed), server.rejected) == (1, ["command rejected"])

    def test_a_key_without_endorsement_is_rejected(
        self, server: Server, command: CommandHistory
    ) -> None:
        agent = Agent(server, has_certificate=True)
        server.add_command(command)
        server.keys = json.loads(json.dumps(server.keys))
        server.keys["keys"][0]["x"] = "A" * 43

        agent.fetch()

        assert server.rejected == ["keys rejected"]
        assert (agent.executed, agent.state.last_sequence) == ([], 0)

    def test_keys_endorsed_for_another_device_are_rejected(
        self, server: Server, command: CommandHistory
    ) -> None:
        agent, keys = Agent(server, has_certificate=True), server.keys["keys"]
        other = online_device(server.device.tenant)
        endorsement = signing.endorsement(keys, device=other, now=NOW)
        server.keys = {"keys": keys, "endorsement": endorsement}
        server.add_command(command)

        agent.fetch()

        assert (agent.executed, agent.state.last_sequence) == ([], 0)

    def test_keys_are_kept_while_the_server_cannot_endorse_them(
        self, server: Server, command: CommandHistory
    ) -> None:
        agent = Agent(server, has_certificate=True)
        server.add_command(command)
        agent.state.command_keys = server.keys["keys"]
        server.keys = {**server.keys, "endorsement": None}

        agent.fetch()

        assert agent.executed == [{"volume": 80}]

    def test_an_unsigned_sequence_number_is_not_stored(
        self, server: Server, command: CommandHistory
    ) -> None:
        agent = Agent(server)
        server.commands = [{"id": "x", "sequence": 2**53 - 1, "signed": "a.b.c"}]
        agent.fetch()
        server.commands = []
        server.add_command(command)

        agent.fetch()

        assert server.answers == [(str(command.pk), "succeeded")]


@pytest.mark.django_db(transaction=True)
class TestPushNotifications:
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
