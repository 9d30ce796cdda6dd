"""Simulated boxes hold the push channel, believe who can be believed, and obey."""

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
from devices.registry.tests.waiting import until
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import signing
from devices.remote_control.tests.remote_control import online, person, told
from devices.simulation.commands import Commands
from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet
from devices.simulation.screen import Screen
from devices.simulation.tally import Tally
from devices.simulation.tests.living import living
from provisioning.tests.channel import Channel, serving
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
class TestOverThePushChannel:
    @pytest.fixture
    def tenant(self) -> Tenant:
        made: Tenant = TenantFactory.create()
        return made

    @pytest.fixture
    def channel(self) -> Iterator[Channel]:
        yield from serving()

    @pytest.fixture
    def boxes(
        self, tenant: Tenant, live_server: Any, channel: Channel, settings: Any
    ) -> Iterator[list[Device]]:
        """Three of them, which connect so seldom that only the channel can wake them."""
        settings.RATES = dict.fromkeys(settings.RATES)
        settings.PUBLIC_URL, settings.STREAM_URL = live_server.url, channel.base
        with tenant_scope(tenant.pk):
            _, token = credentials.create_enrollment_token(name="t", now=NOW)
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=token,
            devices=3,
            seed="push",
            pace=Pace(connect_every=600, start_within=0.1, silence=0, clumsiness=0),
            now=lambda: datetime.now(UTC),
        )
        with living(fleet) as tally:
            until(lambda: tally.listening == 3)
            yield list(Device.every_tenant.order_by("name"))

    def test_they_are_told_and_do_it(self, boxes: list[Device]) -> None:
        by = person(boxes[0].tenant)
        for device in boxes:
            told(device, "reload", by=by, now=datetime.now(UTC))
        told(boxes[0], "screenshot", by=by, now=datetime.now(UTC))

        done = CommandHistory.every_tenant.filter(status="succeeded")
        until(lambda: done.count() == 4)
        assert Screenshot.every_tenant.get().device == boxes[0]


def knows_the_ca(box: Commands) -> None:
    """It has got its chain with its certificate."""
    issuer = DeviceCertificatesService().initialize_ca(now=NOW)
    pem = [one.public_bytes(Encoding.PEM).decode() for one in issuer.chain]
    box.chain = "".join(pem)


class Server:
    """What a box asks of its server, answered from the services themselves."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.fetched: list[dict[str, Any]] = []
        keys = signing.key_set(now=NOW)
        word = signing.endorsed(keys, device=device, now=NOW)
        self.keys: dict[str, Any] = {"keys": keys, "endorsement": word}
        self.answers: list[tuple[str, str]] = []

    def hands_out(self, command: CommandHistory, **claims: Any) -> None:
        key = signing.current_key(now=NOW)
        for name, value in claims.items():
            setattr(command, name, value)
        signed = signing.signed(command, key, more={})
        told = {"id": str(command.pk), "sequence": command.sequence, "signed": signed}
        self.fetched.append(told)

    async def call(
        self, kind: str, method: str, path: str, body: Any = None
    ) -> tuple[int, Any]:
        if kind == "commands":
            after = int(path.partition("after=")[2])
            new = [one for one in self.fetched if one["sequence"] > after]
            return 200, {"results": new}
        if kind == "keys":
            return 200, self.keys
        self.answers.append((path.split("/")[-2], body["status"]))
        return 204, None


@pytest.mark.django_db
class TestWhomTheyBelieve:
    @pytest.fixture
    def device(self, acting: Tenant) -> Device:
        return online(acting)

    @pytest.fixture
    def command(self, device: Device) -> CommandHistory:
        return told(
            device,
            "set_volume",
            parameters={"volume": 80},
            by=person(device.tenant),
            now=NOW,
        )

    @pytest.fixture
    def server(self, device: Device) -> Server:
        return Server(device)

    @pytest.fixture
    def box(self, device: Device, server: Server) -> Commands:
        return Commands(
            call=server.call,
            tally=Tally(),
            random=Random(1),
            now=lambda: NOW.timestamp(),
            screen=Screen("box", hue=0.5),
            look_for_update=lambda: None,
            device_id=str(device.pk),
        )

    @pytest.fixture
    def fetch(self, box: Commands) -> Callable[[], int]:
        """Fetch; how many commands were not believed in all."""

        def run() -> int:
            asyncio.run(box.fetch())
            kind = box.tally.kinds.get("not believed")
            return kind.statuses.total() if kind else 0

        return run

    def test_a_command_of_ours(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.hands_out(command)

        assert fetch() == 0
        assert (box.screen.volume, box.last) == (80, 1)
        assert server.answers == [(str(command.pk), "succeeded")]

    @pytest.mark.parametrize(
        "claims",
        [
            {"device_id": "00000000-0000-0000-0000-000000000000"},
            {"expires_at": NOW},
            {"expires_at": NOW - timedelta(days=1)},
        ],
        ids=["for another box", "over now", "long over"],
    )
    def test_not_what_is_for_another_box_or_too_late(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
        claims: dict[str, Any],
    ) -> None:
        server.hands_out(command, **claims)

        assert fetch() == 1
        assert (box.screen.volume, server.answers) == (30, [])

    def test_not_the_same_again(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.hands_out(command)
        fetch()
        server.fetched[0]["sequence"] = 2  # somebody says that it is another

        assert fetch() == 1
        assert len(server.answers) == 1

    def test_not_by_a_key_for_which_nobody_vouches(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        knows_the_ca(box)
        server.hands_out(command)
        server.keys = json.loads(json.dumps(server.keys))
        server.keys["keys"][0]["x"] = "A" * 43

        fetch()
        assert box.tally.kinds["keys not believed"].failed == 1
        assert (box.last, server.answers) == (0, [])

    def test_not_by_those_that_were_vouched_for_to_another_box(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        knows_the_ca(box)
        other = online(server.device.tenant)
        keys = server.keys["keys"]
        word = signing.endorsed(keys, device=other, now=NOW)
        server.keys = {"keys": keys, "endorsement": word}
        server.hands_out(command)

        fetch()
        assert (box.last, server.answers) == (0, [])

    def test_a_number_that_nobody_has_signed_is_not_remembered(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        server.fetched = [{"id": "x", "sequence": 2**53 - 1, "signed": "a.b.c"}]
        fetch()
        server.fetched = []
        server.hands_out(command)

        fetch()
        assert server.answers == [(str(command.pk), "succeeded")]

    def test_by_those_for_which_the_ca_does(
        self,
        server: Server,
        box: Commands,
        command: CommandHistory,
        fetch: Callable[[], int],
    ) -> None:
        knows_the_ca(box)
        server.hands_out(command)

        assert fetch() == 0
