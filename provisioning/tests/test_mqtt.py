"""Devices on an MQTT broker: the same JSON as over HTTP, certificates, and nothing is lost."""

import json
import queue
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection as db
from django.db import transaction

from certificates.services import revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.issuance import issue_certificate, revoke_certificate
from certificates.tests.keys import ec_key
from devices.metrics.models import DeviceMetrics
from devices.metrics.services import partitions
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from devices.remote_control.models import CommandHistory
from devices.remote_control.tests.remote_control import create_member, issue_command
from events.models import Event
from provisioning.mqtt.topics import read_message
from provisioning.tests import broker as brokers
from provisioning.tests.broker import Broker, ConnectedDevice, connected, running_bridge
from provisioning.tests.clients import tools
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

DEVICE = "0b6f0f0e-2f4c-4b8e-9d4e-6a1f5a7c3d21"
needs_broker = [
    pytest.mark.client,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not tools.REQUIRED and not Path(brokers.PROGRAM).exists(), reason="no Mosquitto here"
    ),
]


def build_lists() -> None:
    """Build all revocation lists, as the worker does after a revocation."""
    authority = CertificateManagementService().ca
    revocation_lists.rebuild_due(authority, now=datetime.now(UTC), every=True)


class TestTopics:
    @pytest.mark.parametrize(
        ("topic", "method", "path"),
        [
            ("connect", "POST", "/devices/connect"),
            ("metrics", "POST", "/devices/metrics"),
            ("commands", "GET", "/devices/me/commands"),
            (f"commands/{DEVICE}/answer", "POST", f"/devices/me/commands/{DEVICE}/answer"),
            ("gone", "", ""),
        ],
    )
    def test_a_topic_is_a_request(self, topic: str, method: str, path: str) -> None:
        message = read_message(f"devices/Device-{DEVICE}/up/{topic}", b"{}")

        assert message is not None
        assert (str(message.device_id), message.method, message.path) == (DEVICE, method, path)

    @pytest.mark.parametrize(
        "topic",
        [
            f"devices/Device-{DEVICE}/down/connect",
            f"devices/Device-{DEVICE}/up/other",
            f"devices/Device-{DEVICE}/up/connect/more",
            f"devices/{DEVICE}/up/connect",
            "devices/Device-x/up/connect",
            f"devices/Device-{DEVICE}/up/commands/../answer",
            "",
        ],
    )
    def test_another_topic_is_no_message(self, topic: str) -> None:
        assert read_message(topic, b"{}") is None

    @pytest.mark.parametrize(
        ("payload", "query"),
        [
            (b'{"after": 7, "keys": true}', "after=7&keys=true"),
            (b'{"after": "7", "keys": 1}', ""),
            (b"", ""),
            (b"[1]", ""),
            (b"nonsense", ""),
            (b"[" * 100_000, ""),
        ],
    )
    def test_a_request_for_commands_uses_what_is_readable(self, payload: bytes, query: str) -> None:
        message = read_message(f"devices/Device-{DEVICE}/up/commands", payload)

        assert message is not None
        assert message.query == query


class TestDisconnection:
    pytestmark = pytest.mark.django_db

    def test_a_device_that_was_silent_is_offline(self, acting: Tenant, now: datetime) -> None:
        seen = now - timedelta(minutes=1)
        device = DeviceFactory.create(tenant=acting, status="online", last_seen=seen)

        assert presence.note_disconnection(device_id=device.pk, now=now)

        device.refresh_from_db()
        assert (device.status, device.last_seen) == ("offline", seen)
        event = Event.objects.get(name="device.status_changed")
        assert event.changes == {"status": ["online", "offline"]}
        assert not presence.note_disconnection(device_id=device.pk, now=now)

    def test_a_device_that_was_seen_a_moment_ago_stays_online(
        self, acting: Tenant, now: datetime
    ) -> None:
        seen = now - timedelta(seconds=10)
        device = DeviceFactory.create(tenant=acting, status="online", last_seen=seen)

        assert not presence.note_disconnection(device_id=device.pk, now=now)


class TestBroker:
    pytestmark = needs_broker

    @pytest.fixture
    def tenant(self, partitions_dropped: None) -> Tenant:
        partitions.create_ahead(now=datetime.now(UTC))
        tenant: Tenant = TenantFactory.create(accepts_mqtt=True)
        return tenant

    @pytest.fixture
    def broker(self, tenant: Tenant, device: Device, tmp_path: Path) -> Iterator[Broker]:
        self.key = ec_key()
        self.certificate = issue_certificate(device, datetime.now(UTC), self.key)
        build_lists()
        broker = Broker(tmp_path / "broker")
        broker.prepare()
        broker.start()
        yield broker
        broker.stop()

    @pytest.fixture
    def bridge(self, broker: Broker) -> Iterator[None]:
        with running_bridge(broker):
            yield

    def connect(
        self, broker: Broker, device: Device, **options: Any
    ) -> AbstractContextManager[ConnectedDevice]:
        return connected(broker, device.pk, self.certificate.pem, self.key, **options)

    def test_a_connect_is_answered_as_over_http(
        self, broker: Broker, bridge: None, device: Device
    ) -> None:
        with self.connect(broker, device) as connection:
            connection.send("connect", b'{"app_version": "2.0.0", "nonsense": 1}')
            answer = json.loads(connection.expect("connect"))

        device.refresh_from_db()
        assert (device.status, device.app_version) == ("online", "2.0.0")
        assert answer["device_id"] == str(device.pk)
        assert answer["ignored"][0]["field"] == "nonsense"
        assert "next_steps" in answer

    def test_samples_are_stored_once_and_faults_are_answered(
        self, broker: Broker, bridge: None, device: Device
    ) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        sample = json.dumps({"recorded_at": at.isoformat(), "cpu_usage": 12.5}).encode()
        with self.connect(broker, device) as connection:
            for _ in range(3):
                connection.send("metrics", sample)
            connection.send("metrics", b"nonsense")
            # Messages of a device are handled in turn, so the samples are stored by then.
            fault = json.loads(connection.expect("errors"))

        assert (fault["message"], fault["status"]) == ("metrics", 400)
        assert DeviceMetrics.every_tenant.filter(device_id=device.pk).count() == 1

    def test_a_device_is_woken_fetches_its_command_and_answers_it(
        self, broker: Broker, bridge: None, device: Device, tenant: Tenant
    ) -> None:
        with self.connect(broker, device) as connection:
            connection.send("connect", b"{}")
            connection.expect("connect")
            with tenant_scope(device.tenant_id):
                member, now = create_member(tenant, Role.ADMIN), datetime.now(UTC)
                command = issue_command(device, "reboot", by=member, now=now)
            wake = json.loads(connection.expect("wake"))
            connection.send("commands", b'{"after": 0}')
            [fetched] = json.loads(connection.expect("commands"))["results"]
            connection.send(f"commands/{command.pk}/answer", b'{"status": "succeeded"}')
            rows = CommandHistory.every_tenant.filter(pk=command.pk)
            wait_until(lambda: rows.get().status == "succeeded")

        assert wake == {"sequence": command.sequence}
        assert fetched["sequence"] == command.sequence

    def test_a_device_cannot_publish_to_the_topics_of_another(
        self, broker: Broker, bridge: None, device: Device, tenant: Tenant
    ) -> None:
        other = DeviceFactory.create(tenant=tenant, status="offline", last_seen=None)
        issue_certificate(other, datetime.now(UTC))
        with self.connect(broker, device) as connection:
            connection.send("connect", b"{}", name=f"Device-{other.pk}")
            wait_until(lambda: f"Denied PUBLISH from Device-{device.pk}" in broker.log)
        with self.connect(broker, device) as connection:  # the broker has ended the first one
            for _ in range(3):  # whatever came first is handled by then
                connection.send("connect", b"{}")
                connection.expect("connect")

        other.refresh_from_db()
        assert other.last_seen is None

    def test_a_device_cannot_take_over_the_session_of_the_bridge(
        self, broker: Broker, bridge: None, device: Device
    ) -> None:
        with self.connect(broker, device, client_id="provisioning-bridge") as connection:
            connection.send("connect", b"{}")
            connection.expect("connect")

        assert "already connected" not in broker.log
        assert f"as provisioning-bridge (p5, c1, k60, u'Device-{device.pk}')" not in broker.log

    def test_a_device_does_not_receive_the_messages_of_another(
        self, broker: Broker, bridge: None, device: Device, tenant: Tenant
    ) -> None:
        other, key = DeviceFactory.create(tenant=tenant), ec_key()
        certificate = issue_certificate(other, datetime.now(UTC), key).pem
        with (
            self.connect(broker, device) as curious,
            connected(broker, other.pk, certificate, key) as connection,
        ):
            for topic in ("devices/#", f"devices/Device-{other.pk}/down/#"):
                curious.client.subscribe(topic, qos=1)
            for _ in range(3):
                connection.send("connect", b"{}")
                connection.expect("connect")
            curious.send("connect", b"{}")
            topics = set()
            while f"devices/Device-{device.pk}/down/connect" not in topics:
                topics.add(curious.received.get(timeout=20)[0])

        assert topics == {f"devices/Device-{device.pk}/down/connect"}

    def test_a_revoked_certificate_is_refused(self, broker: Broker, device: Device) -> None:
        now = datetime.now(UTC)
        revoke_certificate(self.certificate, now)
        build_lists()
        broker.refresh_trust()  # and SIGHUP
        wait_until(lambda: "Reloading config" in broker.log)

        with pytest.raises((ConnectionRefusedError, ssl.SSLError)), self.connect(broker, device):
            pass

    def test_a_retained_message_and_a_strange_topic_are_ignored(
        self, broker: Broker, device: Device
    ) -> None:
        with self.connect(broker, device) as connection:
            connection.send("connect", b'{"app_version": "9.9.9"}', retain=True)
            connection.send("other", b"{}")
            with running_bridge(broker):
                # The retained message was delivered when the bridge has subscribed.
                connection.send("connect", b"{}")
                connection.expect("connect")

        device.refresh_from_db()
        assert device.app_version != "9.9.9"

    def test_what_the_broker_acknowledged_is_stored_after_bridge_and_broker_were_away(
        self, broker: Broker, device: Device
    ) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        with running_bridge(broker), self.connect(broker, device) as connection:
            connection.send("connect", b"{}")
            connection.expect("connect")
        with self.connect(broker, device) as connection:
            for number in range(100):
                moment = (at - timedelta(seconds=number)).isoformat()
                sample = {"recorded_at": moment, "cpu_usage": 1.0}
                connection.send("metrics", json.dumps(sample).encode())
        broker.stop()
        broker.start()

        with running_bridge(broker):
            samples = DeviceMetrics.every_tenant.filter(device_id=device.pk)
            wait_until(lambda: samples.count() == 100, timeout=60)

    def test_nothing_is_acknowledged_before_it_is_stored(
        self, broker: Broker, device: Device
    ) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        samples = DeviceMetrics.every_tenant.filter(device_id=device.pk)
        with self.connect(broker, device) as connection:
            with running_bridge(broker) as bridge:
                connection.send("connect", b"{}")
                connection.expect("connect")
                with transaction.atomic(), db.cursor() as cursor:
                    cursor.execute("LOCK TABLE devices_device IN EXCLUSIVE MODE")
                    for number in range(20):
                        moment = (at - timedelta(seconds=number)).isoformat()
                        sample = {"recorded_at": moment, "cpu_usage": 1.0}
                        connection.send("metrics", json.dumps(sample).encode())
                    wait_until(lambda: broker.log.count("up/metrics', ... ") >= 40)
                    bridge.kill()
            assert samples.count() == 0
            with running_bridge(broker):
                wait_until(lambda: samples.count() == 20, timeout=60)

    def test_a_message_above_a_limit_waits_for_its_turn(
        self, broker: Broker, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RATE_DEVICE", "5/s")
        at = datetime.now(UTC).replace(microsecond=0)
        samples = DeviceMetrics.every_tenant.filter(device_id=device.pk)
        with running_bridge(broker), self.connect(broker, device) as connection:
            for number in range(30):
                moment = (at - timedelta(seconds=number)).isoformat()
                sample = {"recorded_at": moment, "cpu_usage": 1.0}
                connection.send("metrics", json.dumps(sample).encode())
            wait_until(lambda: samples.count() == 30, timeout=60)

    def test_the_last_will_of_a_silent_device_makes_it_offline(
        self, broker: Broker, bridge: None, device: Device
    ) -> None:
        with self.connect(broker, device, will=True) as connection:
            connection.send("connect", b"{}")
            connection.expect("connect")
            long_ago = datetime.now(UTC) - timedelta(minutes=2)
            Device.every_tenant.filter(pk=device.pk).update(last_seen=long_ago)
            connection.client.socket().close()  # without a word
            wait_until(lambda: Device.every_tenant.get(pk=device.pk).status == "offline")

    def test_a_tenant_that_has_not_switched_mqtt_on_gets_nothing(
        self, broker: Broker, bridge: None, device: Device, tenant: Tenant
    ) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(accepts_mqtt=False)
        Device.every_tenant.filter(pk=device.pk).update(last_seen=None, status="offline")
        with self.connect(broker, device) as connection:
            connection.send("connect", b"{}")
            with pytest.raises(queue.Empty):
                connection.expect("connect", timeout=3)

        device.refresh_from_db()
        assert device.last_seen is None
