"""Whom a tenant tells of its events: what passes, how it is signed, what is tried again."""

import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.core.mail import get_connection
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from rest_framework.test import APIClient

from devices.monitoring.events import AlertOpened
from devices.registry.events import DeviceQuarantined
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from devices.registry.tests.waiting import until
from events.domain_events import DomainEvent
from events.models import Channel, ChannelDelivery, Event
from events.services import channel_delivery, channel_secrets, channels, outbound_http
from events.services.outbox import record
from events.tasks import delete_expired_messages
from events.tests.factories import ChannelFactory
from events.tests.receiving import Receiver, receiver
from tenants.context import tenant_scope
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def outsider() -> Iterator[Receiver]:
    with receiver() as told:
        yield told


@pytest.fixture
def hook(tenant: Tenant, outsider: Receiver, now: datetime) -> Channel:
    with tenant_scope(tenant.pk):
        channel, _ = channels.create(
            name="Ops", kind="webhook", url=outsider.url, now=now
        )
    return channel


def opened(tenant: Tenant, now: datetime, **said: Any) -> DomainEvent:
    return AlertOpened(
        **{
            "tenant_id": tenant.pk,
            "at": now,
            "alert_id": "1",
            "severity": "high",
            "title": "CPU: 95 %",
            "kind": "metric",
            "value": 95.0,
            **said,
        }
    )


def happens(*facts: DomainEvent) -> None:
    with tenant_scope(facts[0].tenant_id):
        record(facts)


def messages() -> list[ChannelDelivery]:
    return list(ChannelDelivery.every_tenant.order_by("id"))


def test_an_event_goes_out_signed_and_its_answer_is_kept(
    tenant: Tenant, device: Device, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    happens(opened(tenant, now, device_id=device.pk))

    assert channel_delivery.send_due(now=now) == 1

    [(path, headers, body)] = outsider.received
    told = json.loads(body)
    assert path == "/hook?x=1"
    assert (told["name"], told["data"]["title"]) == ("alert.opened", "CPU: 95 %")
    assert told["device"] == {"id": str(device.pk), "name": device.name}
    timestamp = headers["x-webhook-timestamp"]
    assert int(timestamp) == int(now.timestamp())
    [secret] = channel_secrets.live_secrets(hook, now=now)
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, sha256)
    assert headers["x-webhook-signature"] == f"v1={signed.hexdigest()}"
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
def test_an_event_goes_to_channels_whose_every_filter_it_passes(
    tenant: Tenant, device: Device, now: datetime, filters: Any, passes: bool
) -> None:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    ChannelFactory.create(tenant=tenant, **filters)
    ChannelFactory.create(events=["*"])  # a stranger's

    happens(opened(tenant, now, device_id=device.pk))

    assert len(messages()) == int(passes)


def test_an_event_without_severity_passes_no_severity_filter(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    ChannelFactory.create(tenant=tenant, events=["*"], least_severity="low")

    happens(
        DeviceQuarantined(
            tenant_id=tenant.pk, device_id=device.pk, at=now, reason="x", seen=[]
        )
    )

    assert messages() == []


def test_what_is_rolled_back_is_told_nobody(tenant: Tenant, now: datetime) -> None:
    ChannelFactory.create(tenant=tenant)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        happens(opened(tenant, now))
        raise ZeroDivisionError

    assert messages() == []


def test_a_refusal_is_tried_again_for_about_a_day_and_then_given_up(
    tenant: Tenant, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    outsider.status = 500
    happens(opened(tenant, now))
    at, waits = now, []
    while not messages()[0].dead_at:
        assert channel_delivery.send_due(now=at) == 1
        due_at = messages()[0].due_at
        waits.append(due_at - at)
        at = due_at

    assert len(outsider.received) == len(channel_delivery.BACK_OFF) + 1
    assert 0.8 * DAY < at - now < 1.3 * DAY
    assert waits[0] < waits[3] < waits[6]
    assert {line["status"] for line in messages()[0].log} == {500}

    outsider.status = 200
    with tenant_scope(tenant.pk):
        channels.replay(message_id=messages()[0].pk, now=at)
    channel_delivery.send_due(now=at)
    assert messages()[0].state == "delivered"


def test_events_of_one_device_go_out_in_order(
    tenant: Tenant, device: Device, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    outsider.status = 503
    happens(opened(tenant, now, device_id=device.pk, title="first"))
    channel_delivery.send_due(now=now)
    happens(opened(tenant, now, device_id=device.pk, title="second"))
    happens(opened(tenant, now, title="of nobody"))
    outsider.status = 200

    channel_delivery.send_due(now=now + timedelta(seconds=1))
    channel_delivery.send_due(now=now + MINUTE)
    channel_delivery.send_due(now=now + MINUTE)

    told = [json.loads(body)["data"]["title"] for _, _, body in outsider.received]
    assert told == ["first", "of nobody", "first", "second"]


def test_a_new_secret_and_the_former_one_are_both_good_for_a_day(
    tenant: Tenant, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    former = channel_secrets.live_secrets(hook, now=now)
    with tenant_scope(tenant.pk):
        secret = channels.rotate_secret(channel=hook, now=now)
    hook.refresh_from_db()

    assert channel_secrets.live_secrets(hook, now=now) == [secret, *former]
    assert channel_secrets.live_secrets(hook, now=now + DAY) == [secret]
    happens(opened(tenant, now))
    channel_delivery.send_due(now=now)
    assert outsider.received[0][1]["x-webhook-signature"].count("v1=") == 2


def test_secrets_are_encrypted_at_rest(hook: Channel, now: datetime) -> None:
    [secret] = channel_secrets.live_secrets(hook, now=now)

    assert secret not in hook.secret
    assert secret.startswith("whs_")


def test_secrets_outlive_a_change_of_the_installations_key(
    hook: Channel, now: datetime, settings: Any
) -> None:
    before = channel_secrets.live_secrets(hook, now=now)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key that is as long as it has to be, and longer"

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    hook.refresh_from_db()
    assert channel_secrets.live_secrets(hook, now=now) == before


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255"),
        *("::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"),
        *("2002:7f00:1::", "ff02::1", "fec0::1", "64:ff9b:1::a00:1"),
        *("::ffff:0:a00:1", "::a00:1"),
    ],
)
def test_addresses_of_the_inside_are_never_reached(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(outbound_http.Unreachable, match="own network"):
        outbound_http.post(f"http://{host}:9/", b"", {})


def test_a_name_that_means_an_inside_address_is_not_reached(outsider: Receiver) -> None:
    with (
        override_settings(WEBHOOK_ALLOWED_NETWORKS=[]),
        pytest.raises(outbound_http.Unreachable, match="own network"),
    ):
        outbound_http.post(f"http://localhost:{outsider.port}/", b"", {})
    assert outsider.received == []


def test_redirects_are_not_followed(outsider: Receiver) -> None:
    outsider.status, outsider.location = 307, outsider.url

    assert outbound_http.post(outsider.url, b"{}", {}).status == 307
    assert len(outsider.received) == 1


def test_who_answers_in_drips_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, outsider: Receiver
) -> None:
    monkeypatch.setattr(outbound_http, "PATIENCE", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    for _ in range(100):
                        peer.sendall(b"H")
                        threading.Event().wait(0.1)
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(outbound_http.Unreachable):
            outbound_http.post(
                f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}
            )
        dripping.join()


@contextmanager
def talker(said: list[bytes], pause: float = 0.0) -> Iterator[str]:
    """A server that says just this to whoever calls, with pauses; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    peer.recv(65536)
                    for words in said:
                        peer.sendall(words)
                        threading.Event().wait(pause)
                except OSError:
                    return

        talking = threading.Thread(target=talk, daemon=True)
        talking.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        talking.join(5)


def test_who_drips_after_the_head_is_hung_up_on_as_well(
    monkeypatch: pytest.MonkeyPatch, outsider: Receiver
) -> None:
    monkeypatch.setattr(outbound_http, "PATIENCE", 0.5)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

    with talker([head, *[b"x"] * 40], pause=0.1) as url:
        begun = time.monotonic()
        with suppress(outbound_http.Unreachable):
            outbound_http.post(url, b"{}", {})

    assert time.monotonic() - begun < 3


def test_a_receiver_that_speaks_no_http_holds_up_nobody(
    tenant: Tenant, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    with talker([b"SSH-2.0-OpenSSH_9.2\r\n"]) as url:
        ChannelFactory.create(tenant=tenant, url=url)
        happens(opened(tenant, now))
        assert channel_delivery.send_due(now=now) == 2

    assert len(outsider.received) == 1
    states = {str(row.channel.name): row.state for row in messages()}
    assert states.pop("Ops") == "delivered"
    assert list(states.values()) == ["waiting"]
    assert channel_delivery.send_due(now=now + channel_delivery.LEASE) == 1, (
        "and is tried again"
    )


def test_who_has_lost_the_lease_writes_nothing_over_the_others_outcome(
    tenant: Tenant, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    happens(opened(tenant, now))
    stale = channel_delivery._lease_webhooks(now)
    channel_delivery.send_due(now=now + channel_delivery.LEASE)
    failed = channel_delivery.Outcome(False, None, "too slow", 9)

    channel_delivery._note(stale, failed, now=now + channel_delivery.LEASE)

    assert messages()[0].state == "delivered"


def test_each_channel_gets_its_turn(
    tenant: Tenant, hook: Channel, outsider: Receiver, now: datetime
) -> None:
    ChannelFactory.create(tenant=tenant, url="http://127.0.0.1:9/", name="Dead")
    for _ in range(70):
        happens(opened(tenant, now))

    channel_delivery.send_due(now=now)

    assert len(outsider.received) == channel_delivery.OF_A_CHANNEL
    Channel.every_tenant.get(name="Dead", rests_until=now + channel_delivery.REST)


def test_addresses_do_not_stand_in_the_audit_log(
    tenant: Tenant, hook: Channel, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        channels.update(channel=hook, url="https://example.com/secret-path", now=now)

    event = Event.every_tenant.named("channel.updated").get()

    assert event.changes == {"url": ["127.0.0.1", "example.com"]}


@pytest.mark.parametrize(
    "url",
    [
        *("", "ftp://example.com/", "https://", "http://127.0.0.1/", "http://[::1]/"),
        *("http://u:p@example.com/", "http://example.com:0/", "http://a b/", "x"),
        *("http://[::1", "http://example.com:99999/", "http://10.0.0.1/"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(
    member: Callable[..., APIClient], url: str
) -> None:
    said = {"name": "Ops", "kind": "webhook", "url": url}

    answer = member(Role.ADMIN).post("/channels", said)

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "url")


def test_a_channel_is_made_tried_changed_and_removed_over_http(
    member: Callable[..., APIClient], outsider: Receiver
) -> None:
    admin = member(Role.ADMIN)
    made = admin.post(
        "/channels", {"name": "Ops", "kind": "webhook", "url": outsider.url}
    )
    assert made.status_code == 201, made.content
    assert made.json()["secret"].startswith("whs_")
    where = f"/channels/{made.json()['channel']['id']}"

    tried = admin.post(f"{where}/test").json()

    assert (tried["state"], tried["log"][0]["status"]) == ("delivered", 200)
    assert json.loads(outsider.received[0][2])["name"] == "channel.tested"
    [listed] = admin.get(f"{where}/messages").json()["results"]
    assert listed["name"] == "channel.tested"
    replayed = admin.post(f"{where}/messages/{listed['id']}/replay").json()
    assert replayed["state"] == "waiting"
    assert admin.post(f"{where}/messages/{listed['id']}/replay").status_code == 409
    changed = admin.patch(where, {"events": ["*"], "least_severity": "high"}).json()
    assert (changed["events"], changed["least_severity"]) == (["*"], "high")
    assert "secret" not in changed
    assert admin.post(f"{where}/rotate-secret").json()["secret"].startswith("whs_")
    assert admin.delete(where).status_code == 204
    assert admin.get(where).status_code == 404


def test_a_test_that_does_not_arrive_says_why(
    member: Callable[..., APIClient], outsider: Receiver
) -> None:
    admin = member(Role.ADMIN)
    outsider.status, outsider.answer = 403, b"who are you?"
    made = admin.post(
        "/channels", {"name": "Ops", "kind": "webhook", "url": outsider.url}
    ).json()

    tried = admin.post(f"/channels/{made['channel']['id']}/test").json()

    assert tried["state"] == "waiting"
    assert tried["log"][0]["answer"] == "who are you?"


def test_operators_see_no_channels(member: Callable[..., APIClient]) -> None:
    assert member(Role.OPERATOR).get("/channels").status_code == 403


class Letters:
    """What a mail server has taken."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.texts.append(envelope.content.decode("utf-8", "replace"))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[Letters]:
    letters = Letters()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(letters, hostname="127.0.0.1", port=port)
    controller.start()
    with override_settings(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        EMAIL_USE_TLS=False,
    ):
        yield letters
    controller.stop()


def test_one_event_is_a_mail_and_many_are_a_digest(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    with mail_server() as letters:
        assert get_connection() is not None
        with tenant_scope(tenant.pk):
            channels.create(
                name="Ops",
                kind="mail",
                recipients=["ops@example.com"],
                now=now,
            )
        happens(opened(tenant, now, device_id=device.pk))
        channel_delivery.send_due(now=now)
        for number in range(150):
            happens(opened(tenant, now, title=f"number {number}"))
        assert (
            channel_delivery.send_due(now=now + MINUTE) == 0
        )  # they wait for each other
        assert channel_delivery.send_due(now=now + 5 * MINUTE) == 150

    first, digest = letters.texts
    assert f"CPU: 95 % ({device.name})" in first
    assert "Subject: [provisioning] 150 events" in digest
    assert "number 99" in digest
    assert "and 50 more" in digest
    assert {message.state for message in messages()} == {"delivered"}


def test_a_mail_that_cannot_be_sent_is_tried_again(
    tenant: Tenant, now: datetime
) -> None:
    ChannelFactory.create(
        tenant=tenant, kind="mail", url="", recipients=["a@b.example"]
    )
    happens(opened(tenant, now))
    backend = "django.core.mail.backends.smtp.EmailBackend"
    with override_settings(EMAIL_BACKEND=backend, EMAIL_HOST="127.0.0.1", EMAIL_PORT=9):
        channel_delivery.send_due(now=now)

    assert (messages()[0].state, messages()[0].attempts) == ("waiting", 1)


def test_no_mail_channel_where_no_mails_are_sent(
    member: Callable[..., APIClient],
) -> None:
    said = {"name": "Ops", "kind": "mail", "recipients": ["ops@example.com"]}

    answer = member(Role.ADMIN).post("/channels", said)

    assert answer.json()["errors"][0]["code"] == "invalid_channel"


def test_messages_are_kept_for_a_week(
    tenant: Tenant, hook: Channel, now: datetime
) -> None:
    happens(opened(tenant, now))
    channel_delivery.send_due(now=now)

    assert channel_delivery.drop_outlived(now=now + 6 * DAY) == 0
    assert channel_delivery.drop_outlived(now=now + 8 * DAY) == 1
    assert Event.every_tenant.named("alert.opened").exists(), "the event stays"


def test_two_senders_at_once_send_each_message_once(
    tenant: Tenant, hook: Channel, now: datetime
) -> None:
    happens(opened(tenant, now))
    with tenant_scope(tenant.pk):
        first = channel_delivery._lease_webhooks(now)

    assert len(first) == 1
    assert channel_delivery.send_due(now=now) == 0
    assert (
        channel_delivery.send_due(now=now + channel_delivery.LEASE) == 1
    )  # the first one was killed


@pytest.mark.django_db(transaction=True)
def test_a_worker_sends_soon_after_the_commit(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8")
    request.getfixturevalue("celery_worker")
    with receiver() as outsider:
        channel = ChannelFactory.create(url=outsider.url)
        channel_secrets.make(channel)
        channel.save()
        DeviceFactory.create(tenant=channel.tenant)

        with transaction.atomic():
            happens(opened(channel.tenant, timezone.now()))

        until(lambda: outsider.received)


@pytest.mark.django_db(transaction=True)
def test_old_messages_are_dropped_by_a_worker(celery_worker: None) -> None:
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

    until(lambda: not ChannelDelivery.every_tenant.exists())
