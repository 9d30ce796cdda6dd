"""Webhooks as independent libraries read them, and the documents that describe the events."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import jsonschema
import pytest
import standardwebhooks
import svix.webhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from django.apps import apps
from django.conf import settings
from django.test import Client
from django.utils import timezone

from core.encryption import encrypt
from devices.monitoring.events import AlertOpened
from devices.registry.models import Device
from events.event_classes import event_classes
from events.models import Channel
from events.services import channel_delivery, channel_secrets, channels
from events.services.channel_secrets import PURPOSE
from events.services.outbox import record
from events.tests.receiving import Receiver, receiver
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
Message = tuple[dict[str, str], bytes]  # headers with lower-case names, body


@pytest.fixture
def endpoint() -> Any:
    with receiver() as state:
        yield state


def send_alert(
    tenant: Tenant, device: Device, endpoint: Receiver, now: datetime
) -> tuple[Channel, Message]:
    """Send an event to a new webhook. Return its channel, and the request that arrived."""
    with tenant_scope(tenant.pk):
        channel, _ = channels.create(
            name="Ops", kind="webhook", url=endpoint.url, events=["alert.*"], now=now
        )
        record(
            [
                AlertOpened(
                    tenant_id=tenant.pk,
                    device_id=device.pk,
                    at=now,
                    alert_id="1",
                    severity="high",
                    title="Zu heiß: 95 °C",
                    kind="metric",
                    value=95.0,
                )
            ]
        )
    assert channel_delivery.send_due(now=now) == 1
    [(_, headers, body)] = endpoint.received
    return channel, (headers, body)


def changed(message: Message) -> Message:
    headers, body = message
    return headers, body.replace(b"high", b"info")


@pytest.mark.parametrize(
    ("library", "refusal"),
    [
        (standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError),
        (svix.webhooks.Webhook, svix.webhooks.WebhookVerificationError),
    ],
)
def test_libraries_of_standard_webhooks_accept_a_message_and_refuse_a_changed_one(
    tenant: Tenant, device: Device, endpoint: Receiver, library: Any, refusal: Any
) -> None:
    now = timezone.now()  # both libraries read the system's clock
    channel, (headers, body) = send_alert(tenant, device, endpoint, now)
    [secret] = channel_secrets.valid_secrets(channel, now=now)
    verifier = library(secret)

    verifier.verify(body.decode(), headers)
    headers, body = changed((headers, body))
    with pytest.raises(refusal):
        verifier.verify(body.decode(), headers)


def test_a_receiver_with_the_former_secret_accepts_messages_for_a_day(
    tenant: Tenant, device: Device, endpoint: Receiver
) -> None:
    now = timezone.now()
    channel, _ = send_alert(tenant, device, endpoint, now)
    [former] = channel_secrets.valid_secrets(channel, now=now)
    with tenant_scope(tenant.pk):
        new = channels.rotate_secret(channel=channel, now=now)
        channels.test(channel=channel, now=now)
    channel_delivery.send_due(now=now)

    _, headers, body = endpoint.received[-1]
    for secret in (former, new):
        standardwebhooks.Webhook(secret).verify(body.decode(), headers)


def test_the_cloudevents_library_reads_the_body(
    tenant: Tenant, device: Device, endpoint: Receiver, now: datetime
) -> None:
    _, (headers, body) = send_alert(tenant, device, endpoint, now)

    event = from_http_event(HTTPMessage(headers, body))

    assert event.get_specversion() == "1.0"
    assert event.get_type() == "alert.opened"
    assert event.get_id() == headers["webhook-id"]
    assert event.get_source() == f"{settings.PUBLIC_URL}/t/{tenant.slug}"
    assert event.get_subject() == str(device.pk)
    assert event.get_time() == now
    data: Any = event.get_data()
    assert data["details"]["title"] == "Zu heiß: 95 °C"


def test_the_body_agrees_with_its_schema_in_the_asyncapi_document(
    tenant: Tenant, device: Device, endpoint: Receiver, now: datetime
) -> None:
    _, (_, body) = send_alert(tenant, device, endpoint, now)
    event = json.loads(body)
    document = Client().get("/asyncapi").json()
    address, _, pointer = event["dataschema"].partition("#")
    assert address == f"{settings.PUBLIC_URL}/asyncapi"
    of_data = {"$ref": f"#{pointer}", "components": document["components"]}
    whole = {**of_data, "$ref": "#/components/schemas/alert.opened"}

    jsonschema.validate(event["data"], of_data)
    jsonschema.validate(event, whole)
    event["data"]["details"]["value"] = "hot"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event["data"], of_data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, whole)


def test_an_event_of_no_device_has_no_subject(
    tenant: Tenant, endpoint: Receiver, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        channel, _ = channels.create(name="Ops", kind="webhook", url=endpoint.url, now=now)
        channels.test(channel=channel, now=now)
    channel_delivery.send_due(now=now)

    event = json.loads(endpoint.received[0][2])
    assert "subject" not in event
    assert event["data"]["device"] is None


def test_every_event_is_described_in_the_asyncapi_document_and_on_its_page() -> None:
    document = Client().get("/asyncapi").json()
    page = Client().get("/docs/events").content.decode()

    assert document["asyncapi"] == "3.0.0"
    messages = document["components"]["messages"]
    assert set(messages) == set(document["channels"]["webhook"]["messages"])
    without_tenant = {name for name, kind in event_classes().items() if not kind.has_tenant}
    assert set(messages) == set(event_classes()) - without_tenant
    assert "person.signed_in" in without_tenant
    for name, message in messages.items():
        assert message["summary"], name
        assert f'<h3 id="{name}">' in page
    details = document["components"]["schemas"]["alert.opened.data"]["allOf"][1]
    properties = details["properties"]["details"]["properties"]
    assert properties["value"] == {"type": ["number", "null"]}


def test_the_example_on_the_page_of_events_agrees_with_the_document() -> None:
    documentation = import_module("events.api.documentation")
    document = Client().get("/asyncapi").json()
    schema = {"$ref": "#/components/schemas/alert.opened", "components": document["components"]}

    jsonschema.validate(documentation.EXAMPLE, schema)


def test_the_asyncapi_document_is_sent_again_only_after_a_change() -> None:
    first = Client().get("/asyncapi")

    again = Client().get("/asyncapi", headers={"If-None-Match": first["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_secrets_of_the_former_form_are_converted_and_keep_their_key(
    tenant: Tenant, device: Device, endpoint: Receiver, now: datetime
) -> None:
    migration = import_module("events.migrations.0008_standard_webhook_secrets")
    channel, _ = send_alert(tenant, device, endpoint, now)
    Channel.every_tenant.filter(pk=channel.pk).update(
        secret=encrypt("whs_former", purpose=PURPOSE),
        former_secret=encrypt("whs_older", purpose=PURPOSE),
        former_secret_until=now + timedelta(hours=1),
    )

    migration.rewrite(apps, None)

    channel = Channel.every_tenant.get(pk=channel.pk)
    assert channel_secrets.valid_secrets(channel, now=now) == [
        f"whsec_{b64encode(secret).decode()}" for secret in (b"whs_former", b"whs_older")
    ]


def test_the_time_of_an_event_has_an_offset(
    tenant: Tenant, device: Device, endpoint: Receiver
) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    _, (_, body) = send_alert(tenant, device, endpoint, now)

    assert json.loads(body)["time"] == "2026-11-30T12:00:00+00:00"
