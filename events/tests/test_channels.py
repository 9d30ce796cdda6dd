"""Tests of channels: filters, signatures, retries, allowed addresses, and the API."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.mail import get_connection
from django.core.management import call_command
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from django.utils.http import http_date
from rest_framework.test import APIClient

from core.limits import Rate
from devices.monitoring.events import AlertOpened
from devices.registry.events import DeviceQuarantined
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from devices.registry.tests.waiting import wait_until
from events.domain_events import DomainEvent
from events.models import Channel, ChannelDelivery, Event
from events.services import (
    channel_delivery,
    channel_health,
    channel_secrets,
    channels,
    delivery,
    outbound_http,
)
from events.services.outbox import record
from events.tasks import (
    SEND_LOCK,
    delete_expired_messages,
    report_failing_channels,
    send_to_channels,
)
from events.tests.factories import ChannelFactory
from events.tests.mail_server import mail_server
from events.tests.receiving import Receiver, receiver
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    """Run a server that receives webhooks."""
    with receiver() as state:
        yield state


@pytest.fixture
def webhook(tenant: Tenant, endpoint: Receiver, now: datetime) -> Channel:
    with tenant_scope(tenant.pk):
        channel, _ = channels.create(name="Ops", kind="webhook", url=endpoint.url, now=now)
    return channel


def alert_opened(tenant: Tenant, now: datetime, **fields: Any) -> DomainEvent:
    return AlertOpened(
        **{
            "tenant_id": tenant.pk,
            "at": now,
            "alert_id": "1",
            "severity": "high",
            "title": "CPU: 95 %",
            "kind": "metric",
            "value": 95.0,
            **fields,
        }
    )


def publish(*events: DomainEvent) -> None:
    with tenant_scope(events[0].tenant_id):
        record(events)


def messages() -> list[ChannelDelivery]:
    return list(ChannelDelivery.every_tenant.order_by("id"))


def test_an_event_is_sent_signed_and_the_response_is_logged(
    tenant: Tenant, device: Device, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    publish(alert_opened(tenant, now, device_id=device.pk))

    assert channel_delivery.send_due(now=now) == 1

    [(path, headers, body)] = endpoint.received
    content = json.loads(body)
    assert path == "/hook?x=1"
    assert content["type"] == "alert.opened"
    assert content["data"]["details"]["title"] == "CPU: 95 %"
    assert content["data"]["device"] == {"id": str(device.pk), "name": device.name}
    assert int(headers["webhook-timestamp"]) == int(now.timestamp())
    assert headers["webhook-id"] == content["id"]
    [message] = messages()
    assert (message.state, message.delivered_at) == ("delivered", now)
    assert (message.log[0]["status"], message.log[0]["answer"]) == (200, "thanks")
    assert channel_delivery.send_due(now=now + DAY) == 0


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"events": ["*"]}, True),
        ({"events": ["alert.opened"]}, True),
        ({"events": ["device.*", "certificate.*"]}, False),
        ({"least_severity": "high"}, True),
        ({"least_severity": "critical"}, False),
        ({"tag": "hall"}, True),
        ({"tag": "attic"}, False),
        ({"is_enabled": False}, False),
    ],
    ids=str,
)
def test_an_event_is_sent_to_channels_if_it_passes_all_filters(
    tenant: Tenant, device: Device, now: datetime, filters: Any, passes: bool
) -> None:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    ChannelFactory.create(tenant=tenant, **filters)
    ChannelFactory.create(events=["*"])  # of another tenant

    publish(alert_opened(tenant, now, device_id=device.pk))

    assert len(messages()) == int(passes)


def test_an_event_without_severity_passes_no_severity_filter(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    ChannelFactory.create(tenant=tenant, events=["*"], least_severity="low")

    publish(
        DeviceQuarantined(tenant_id=tenant.pk, device_id=device.pk, at=now, reason="x", seen=[])
    )

    assert messages() == []


def test_a_rolled_back_event_has_no_message(tenant: Tenant, now: datetime) -> None:
    ChannelFactory.create(tenant=tenant)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish(alert_opened(tenant, now))
        raise ZeroDivisionError

    assert messages() == []


def test_a_failed_message_is_retried_for_about_a_day_and_can_be_replayed(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    endpoint.status = 500
    publish(alert_opened(tenant, now))
    at, waits = now, []
    while not messages()[0].dead_at:
        assert channel_delivery.send_due(now=at) == 1
        due_at = messages()[0].due_at
        waits.append(due_at - at)
        at = due_at

    assert len(endpoint.received) == len(channel_delivery.LEASES.waits) + 1
    assert 0.8 * DAY < at - now < 1.3 * DAY
    assert waits[0] < waits[3] < waits[6]
    assert {line["status"] for line in messages()[0].log} == {500}

    endpoint.status = 200
    with tenant_scope(tenant.pk):
        channels.replay(message_id=messages()[0].pk, now=at)
    channel_delivery.send_due(now=at)
    assert messages()[0].state == "delivered"


def test_a_message_links_to_the_page_of_its_object(
    tenant: Tenant, device: Device, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    alert_id = "0b8f1e9c-3d5c-4b0e-9f6e-2f8a5f2f6a11"
    with tenant_scope(tenant.pk):
        channels.update(channel=webhook, events=["*"], now=now)
    publish(alert_opened(tenant, now, device_id=device.pk, alert_id=alert_id))
    quarantined = DeviceQuarantined(
        tenant_id=tenant.pk, device_id=device.pk, at=now, reason="", seen=[]
    )
    publish(quarantined)

    while channel_delivery.send_due(now=now + MINUTE):
        pass

    sent = [json.loads(body) for _, _, body in endpoint.received]
    links = {event["type"]: event["data"]["link"] for event in sent}
    portal = f"{settings.PUBLIC_URL}/t/{tenant.slug}/admin"
    assert links["alert.opened"] == f"{portal}/monitoring/alert/{alert_id}/change/"
    assert links["device.quarantined"] == f"{portal}/devices/device/{device.pk}/change/"


@pytest.mark.parametrize("as_date", [False, True])
def test_the_retry_after_header_of_a_receiver_is_obeyed(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime, as_date: bool
) -> None:
    endpoint.status = 429
    until = now + timedelta(seconds=600)
    endpoint.retry_after = http_date(until.timestamp()) if as_date else "600"
    publish(alert_opened(tenant, now))
    channel_delivery.send_due(now=now)
    publish(alert_opened(tenant, now))
    endpoint.status = 200

    assert channel_delivery.send_due(now=now + 9 * MINUTE) == 0
    assert channel_delivery.send_due(now=now + 11 * MINUTE) == 2


def test_a_retry_after_header_that_cannot_be_read_is_ignored() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    assert outbound_http.parse_retry_after("soon", moment) is None
    assert outbound_http.parse_retry_after("", moment) is None
    assert outbound_http.parse_retry_after("-5", moment) is None


def test_a_channel_whose_receiver_is_gone_is_switched_off_and_its_owners_get_a_mail(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    MembershipFactory.create(tenant=tenant, role=Role.OWNER, user__email="owner@example.com")
    endpoint.status = 410
    publish(alert_opened(tenant, now))

    with mail_server() as mails:
        channel_delivery.send_due(now=now)
        delivery.deliver(now=now + DAY)

        [mail] = mails.texts
    webhook.refresh_from_db()
    assert (webhook.state, messages()[0].state) == ("off", "dead")
    assert "To: owner@example.com" in mail
    assert f"/t/{tenant.slug}/admin/events/channel/{webhook.pk}/change/" in mail.replace(
        "=\r\n", ""
    )


def test_a_channel_that_fails_for_a_day_is_shown_as_broken_until_a_message_succeeds(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    MembershipFactory.create(tenant=tenant, role=Role.OWNER, user__email="owner@example.com")
    endpoint.status = 500
    publish(alert_opened(tenant, now))
    channel_delivery.send_due(now=now)
    webhook.refresh_from_db()
    assert (webhook.state, webhook.failing_reason) == ("failing", "500 thanks")
    assert channel_health.report_failing(now=now + DAY - MINUTE) == 0

    with mail_server() as mails:
        assert channel_health.report_failing(now=now + DAY) == 1
        assert channel_health.report_failing(now=now + DAY) == 0
        delivery.deliver(now=now + 2 * DAY)
        assert "To: owner@example.com" in mails.texts[0]

    webhook.refresh_from_db()
    assert webhook.state == "broken"
    endpoint.status = 200
    publish(alert_opened(tenant, now))
    channel_delivery.send_due(now=now + 2 * DAY)
    webhook.refresh_from_db()
    assert webhook.state == "on"
    assert Event.every_tenant.named("channel.failing", "channel.recovered").count() == 2


def test_a_corrected_address_is_tried_at_once(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    Channel.every_tenant.update(failing_since=now, rests_until=now + DAY)

    with tenant_scope(tenant.pk):
        channels.update(channel=webhook, url=endpoint.url + "&y=2", now=now)

    webhook.refresh_from_db()
    assert (webhook.state, webhook.rests_until) == ("on", None)


@pytest.mark.parametrize(
    ("pattern", "hint"), [("alert.open", "alert.opened"), ("colour.*", "/channels/event-names")]
)
def test_a_pattern_that_selects_no_event_is_an_error(
    member: Callable[..., APIClient], pattern: str, hint: str
) -> None:
    body = {
        "name": "Hook",
        "kind": "webhook",
        "url": "https://example.com/",
        "events": ["alert.*", pattern],
    }
    response = member(Role.ADMIN).post("/channels", body)

    assert response.status_code == 400
    assert hint in response.json()["errors"][0]["detail"]


def test_the_names_of_all_events_are_listed(member: Callable[..., APIClient]) -> None:
    rows = member(Role.ADMIN).get("/channels/event-names").json()["results"]

    assert {"name": "alert.opened", "description": "An alert was opened."} in rows
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)


def test_events_of_a_device_are_sent_in_order(
    tenant: Tenant, device: Device, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    endpoint.status = 503
    publish(alert_opened(tenant, now, device_id=device.pk, title="first"))
    channel_delivery.send_due(now=now)
    publish(alert_opened(tenant, now, device_id=device.pk, title="second"))
    publish(alert_opened(tenant, now, title="no device"))
    endpoint.status = 200

    channel_delivery.send_due(now=now + timedelta(seconds=1))
    channel_delivery.send_due(now=now + MINUTE)
    channel_delivery.send_due(now=now + MINUTE)

    titles = [json.loads(body)["data"]["details"]["title"] for _, _, body in endpoint.received]
    assert titles == ["first", "no device", "first", "second"]


def test_a_new_secret_and_the_former_one_are_both_valid_for_a_day(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    former = channel_secrets.valid_secrets(webhook, now=now)
    with tenant_scope(tenant.pk):
        secret = channels.rotate_secret(channel=webhook, now=now)
    webhook.refresh_from_db()

    assert channel_secrets.valid_secrets(webhook, now=now) == [secret, *former]
    assert channel_secrets.valid_secrets(webhook, now=now + DAY) == [secret]
    publish(alert_opened(tenant, now))
    channel_delivery.send_due(now=now)
    assert endpoint.received[0][1]["webhook-signature"].count("v1,") == 2


def test_secrets_are_encrypted_at_rest(webhook: Channel, now: datetime) -> None:
    [secret] = channel_secrets.valid_secrets(webhook, now=now)

    assert secret not in webhook.secret
    assert secret.startswith("whsec_")


def test_secrets_are_reencrypted_after_a_change_of_the_secret_key(
    webhook: Channel, now: datetime, settings: Any
) -> None:
    before = channel_secrets.valid_secrets(webhook, now=now)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key that is as long as it has to be, and longer"

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    webhook.refresh_from_db()
    assert channel_secrets.valid_secrets(webhook, now=now) == before


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "ff02::1",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "::ffff:0:a00:1",
        "::a00:1",
    ],
)
def test_internal_addresses_are_not_contacted(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(outbound_http.Unreachable, match="internal network"):
        outbound_http.post(f"http://{host}:9/", b"", {})


def test_a_host_name_of_an_internal_address_is_not_contacted(endpoint: Receiver) -> None:
    with (
        override_settings(WEBHOOK_ALLOWED_NETWORKS=[]),
        pytest.raises(outbound_http.Unreachable, match="internal network"),
    ):
        outbound_http.post(f"http://localhost:{endpoint.port}/", b"", {})
    assert endpoint.received == []


def test_redirects_are_not_followed(endpoint: Receiver) -> None:
    endpoint.status, endpoint.location = 307, endpoint.url

    assert outbound_http.post(endpoint.url, b"{}", {}).status == 307
    assert len(endpoint.received) == 1


def test_a_server_that_sends_single_bytes_is_disconnected_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch, endpoint: Receiver
) -> None:
    monkeypatch.setattr(outbound_http, "TIMEOUT", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send_single_bytes() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    for _ in range(100):
                        peer.sendall(b"H")
                        threading.Event().wait(0.1)
                except OSError:
                    return

        thread = threading.Thread(target=send_single_bytes)
        thread.start()
        with pytest.raises(outbound_http.Unreachable):
            outbound_http.post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {})
        thread.join()


@contextmanager
def raw_server(chunks: list[bytes], pause: float = 0.0) -> Iterator[str]:
    """Run a server that sends chunks to its first client; yield its URL.

    Args:
        pause: seconds after each chunk.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    peer.recv(65536)
                    for chunk in chunks:
                        peer.sendall(chunk)
                        threading.Event().wait(pause)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(5)


def test_a_server_with_a_slow_response_body_is_disconnected_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch, endpoint: Receiver
) -> None:
    monkeypatch.setattr(outbound_http, "TIMEOUT", 0.5)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

    with raw_server([head, *[b"x"] * 40], pause=0.1) as url:
        start = time.monotonic()
        with suppress(outbound_http.Unreachable):
            outbound_http.post(url, b"{}", {})

    assert time.monotonic() - start < 3


def test_a_receiver_without_http_does_not_delay_other_channels(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    with raw_server([b"SSH-2.0-OpenSSH_9.2\r\n"]) as url:
        ChannelFactory.create(tenant=tenant, url=url)
        publish(alert_opened(tenant, now))
        assert channel_delivery.send_due(now=now) == 2

    assert len(endpoint.received) == 1
    states = {str(row.channel.name): row.state for row in messages()}
    assert states.pop("Ops") == "delivered"
    assert list(states.values()) == ["waiting"]
    retried = channel_delivery.send_due(now=now + channel_delivery.LEASES.duration)
    assert retried == 1


def test_a_worker_with_an_expired_lease_does_not_overwrite_a_newer_result(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    publish(alert_opened(tenant, now))
    stale = channel_delivery._lease_webhooks(now)
    channel_delivery.send_due(now=now + channel_delivery.LEASES.duration)
    failure = channel_delivery.AttemptResult(False, None, "too slow", 9)

    channel_delivery._store_result(stale, failure, now=now + channel_delivery.LEASES.duration)

    assert messages()[0].state == "delivered"


def test_the_messages_of_a_channel_per_batch_are_limited(
    tenant: Tenant, webhook: Channel, endpoint: Receiver, now: datetime
) -> None:
    ChannelFactory.create(tenant=tenant, url="http://127.0.0.1:9/", name="Unreachable")
    for _ in range(70):
        publish(alert_opened(tenant, now))

    channel_delivery.send_due(now=now)

    assert len(endpoint.received) == channel_delivery.MAX_PER_CHANNEL
    unreachable = Channel.every_tenant.get(name="Unreachable")
    assert unreachable.rests_until == now + channel_delivery.FAILURE_PAUSE


def test_the_audit_log_contains_only_the_host_names_of_urls(
    tenant: Tenant, webhook: Channel, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        channels.update(channel=webhook, url="https://example.com/secret-path", now=now)

    event = Event.every_tenant.named("channel.updated").get()

    assert event.changes == {"url": ["127.0.0.1", "example.com"]}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com/",
        "https://",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://u:p@example.com/",
        "http://example.com:0/",
        "http://a b/",
        "x",
        "http://[::1",
        "http://example.com:99999/",
        "http://10.0.0.1/",
    ],
)
def test_an_invalid_url_is_an_error(member: Callable[..., APIClient], url: str) -> None:
    data = {"name": "Ops", "kind": "webhook", "url": url}

    response = member(Role.ADMIN).post("/channels", data)

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "url"


def test_a_channel_is_created_tested_changed_and_deleted_over_the_api(
    member: Callable[..., APIClient], endpoint: Receiver
) -> None:
    admin = member(Role.ADMIN)
    created = admin.post("/channels", {"name": "Ops", "kind": "webhook", "url": endpoint.url})
    assert created.status_code == 201, created.content
    assert created.json()["secret"].startswith("whsec_")
    url = f"/channels/{created.json()['channel']['id']}"

    queued = admin.post(f"{url}/test")

    assert (queued.status_code, queued.json()["state"]) == (202, "waiting")
    assert endpoint.received == []
    channel_delivery.send_due(now=timezone.now())
    assert json.loads(endpoint.received[0][2])["type"] == "channel.tested"
    [message] = admin.get(f"{url}/messages").json()["results"]
    assert message["name"] == "channel.tested"
    assert (message["state"], message["log"][0]["status"]) == ("delivered", 200)
    replay_url = f"{url}/messages/{message['id']}/replay"
    assert admin.post(replay_url).json()["state"] == "waiting"
    assert admin.post(replay_url).status_code == 409
    channel = admin.patch(url, {"events": ["*"], "least_severity": "high"}).json()
    assert (channel["events"], channel["least_severity"]) == (["*"], "high")
    assert "secret" not in channel
    assert admin.post(f"{url}/rotate-secret").json()["secret"].startswith("whsec_")
    assert admin.delete(url).status_code == 204
    assert admin.get(url).status_code == 404


def test_a_failed_test_message_contains_the_response(
    member: Callable[..., APIClient], endpoint: Receiver
) -> None:
    admin = member(Role.ADMIN)
    endpoint.status, endpoint.answer = 403, b"who are you?"
    created = admin.post(
        "/channels", {"name": "Ops", "kind": "webhook", "url": endpoint.url}
    ).json()

    url = f"/channels/{created['channel']['id']}"
    admin.post(f"{url}/test")
    channel_delivery.send_due(now=timezone.now())

    [message] = admin.get(f"{url}/messages").json()["results"]
    assert message["state"] == "waiting"
    assert message["log"][0]["answer"] == "who are you?"


def test_a_disabled_channel_can_be_tested(
    member: Callable[..., APIClient], endpoint: Receiver
) -> None:
    admin = member(Role.ADMIN)
    values = {"name": "Ops", "kind": "webhook", "url": endpoint.url, "is_enabled": False}
    created = admin.post("/channels", values).json()
    admin.post(f"/channels/{created['channel']['id']}/test")

    channel_delivery.send_due(now=timezone.now())

    assert len(endpoint.received) == 1


def test_the_tests_of_a_tenant_are_limited(
    member: Callable[..., APIClient], endpoint: Receiver, settings: Any
) -> None:
    settings.RATES = {**settings.RATES, "channel_test": Rate.parse("2/min")}
    admin = member(Role.ADMIN)
    values = {"name": "Ops", "kind": "webhook", "url": endpoint.url}
    url = f"/channels/{admin.post('/channels', values).json()['channel']['id']}/test"

    assert [admin.post(url).status_code for _ in range(3)] == [202, 202, 429]


def test_operators_cannot_list_channels(member: Callable[..., APIClient]) -> None:
    assert member(Role.OPERATOR).get("/channels").status_code == 403


def test_a_single_event_is_sent_as_a_mail_and_several_as_a_digest(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    with mail_server() as mailbox:
        assert get_connection() is not None
        with tenant_scope(tenant.pk):
            channels.create(name="Ops", kind="mail", recipients=["ops@example.com"], now=now)
        publish(alert_opened(tenant, now, device_id=device.pk))
        channel_delivery.send_due(now=now)
        for number in range(150):
            publish(alert_opened(tenant, now, title=f"number {number}"))
        # The channel is paused to collect events for a digest.
        assert channel_delivery.send_due(now=now + MINUTE) == 0
        assert channel_delivery.send_due(now=now + 5 * MINUTE) == 150

    first, digest = mailbox.texts
    assert f"CPU: 95 % ({device.name})" in first
    assert "Subject: [provisioning] 150 events" in digest
    assert "number 99" in digest
    assert "and 50 more" in digest
    assert {message.state for message in messages()} == {"delivered"}


def test_a_mail_that_cannot_be_sent_is_retried(tenant: Tenant, now: datetime) -> None:
    ChannelFactory.create(tenant=tenant, kind="mail", url="", recipients=["a@b.example"])
    publish(alert_opened(tenant, now))
    backend = "django.core.mail.backends.smtp.EmailBackend"
    with override_settings(EMAIL_BACKEND=backend, EMAIL_HOST="127.0.0.1", EMAIL_PORT=9):
        channel_delivery.send_due(now=now)

    assert (messages()[0].state, messages()[0].attempts) == ("waiting", 1)


def test_a_mail_channel_without_a_mail_server_is_an_error(member: Callable[..., APIClient]) -> None:
    data = {"name": "Ops", "kind": "mail", "recipients": ["ops@example.com"]}

    response = member(Role.ADMIN).post("/channels", data)

    assert response.json()["errors"][0]["code"] == "invalid_channel"


def test_messages_are_kept_for_a_week(tenant: Tenant, webhook: Channel, now: datetime) -> None:
    publish(alert_opened(tenant, now))
    channel_delivery.send_due(now=now)

    assert channel_delivery.delete_expired(now=now + 6 * DAY) == 0
    assert channel_delivery.delete_expired(now=now + 8 * DAY) == 1
    assert Event.every_tenant.named("alert.opened").exists(), "the event remains"


def test_a_leased_message_is_not_sent_again_until_the_lease_expires(
    tenant: Tenant, webhook: Channel, now: datetime
) -> None:
    publish(alert_opened(tenant, now))
    with tenant_scope(tenant.pk):
        leased = channel_delivery._lease_webhooks(now)

    assert len(leased) == 1
    assert channel_delivery.send_due(now=now) == 0
    assert channel_delivery.send_due(now=now + channel_delivery.LEASES.duration) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_sends_soon_after_the_commit(request: pytest.FixtureRequest) -> None:
    with receiver() as endpoint:
        request.getfixturevalue("celery_worker")
        channel = ChannelFactory.create(url=endpoint.url)
        channel_secrets.generate(channel)
        channel.save()
        DeviceFactory.create(tenant=channel.tenant)

        with transaction.atomic():
            publish(alert_opened(channel.tenant, timezone.now()))

        wait_until(lambda: endpoint.received)


@pytest.mark.django_db(transaction=True)
def test_a_worker_deletes_old_messages(celery_worker: None) -> None:
    channel = ChannelFactory.create()
    long_ago = timezone.now() - timedelta(days=8)
    ChannelDelivery.every_tenant.create(
        tenant=channel.tenant,
        channel=channel,
        event_id=1,
        name="alert.opened",
        created_at=long_ago,
        due_at=long_ago,
        delivered_at=long_ago,
    )

    delete_expired_messages.delay()

    wait_until(lambda: not ChannelDelivery.every_tenant.exists())


@pytest.mark.django_db(transaction=True)
def test_a_worker_reports_failing_channels(celery_worker: None) -> None:
    channel = ChannelFactory.create(failing_since=timezone.now() - 2 * DAY)

    report_failing_channels.delay()

    wait_until(lambda: Channel.every_tenant.get(pk=channel.pk).state == "broken")


@pytest.mark.parametrize(("senders", "sent"), [(1, 0), (2, 1)])
@pytest.mark.django_db(transaction=True)
def test_another_sender_goes_on_while_the_first_waits_for_a_slow_receiver(
    tenant: Tenant, webhook: Channel, settings: Any, senders: int, sent: int
) -> None:
    settings.CHANNEL_SENDERS = senders
    with transaction.atomic():
        publish(alert_opened(tenant, timezone.now()))
    other_worker = connection.copy()
    with closing(other_worker), other_worker.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [SEND_LOCK])
        assert send_to_channels() == sent
