"""Tests of the admin pages of channels and messages."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.utils import timezone

from events.models import Channel, ChannelDelivery, Event
from events.services import channel_delivery, channels
from events.tests.receiving import receiver
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
EVENTS = "/admin/events/event/"
CHANNELS = "/admin/events/channel/"
MESSAGES = "/admin/events/channeldelivery/"


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
    return client


def run_action(client: Client, url: str, action: str, row: Any) -> str:
    data = {
        "action": action,
        ACTION_CHECKBOX_NAME: [getattr(row, "public_id", str(row.pk))],
        "confirmed": "yes",
    }
    return client.post(url, data).content.decode()


def test_a_webhook_is_created_and_tested_and_its_message_replayed(admin: Client) -> None:
    with receiver() as endpoint:
        data = {
            "name": "Ops",
            "kind": "webhook",
            "url": endpoint.url,
            "events": "alert.*\ndevice.*",
            "is_enabled": "on",
        }
        response = admin.post(f"{CHANNELS}add/", data)
        assert "whsec_" in response.content.decode(), "the secret is shown once"
        channel = Channel.every_tenant.get()
        assert channel.events == ["alert.*", "device.*"]

        run_action(admin, CHANNELS, "test_selected", channel)
        assert endpoint.received == []
        channel_delivery.send_due(now=timezone.now())
        message = ChannelDelivery.every_tenant.get()
        page = admin.get(f"{MESSAGES}{message.public_id}/change/").content.decode()
        assert "200 thanks" in page
        page = run_action(admin, MESSAGES, "replay_selected", message)
        assert "1 succeeded" in page
        assert "whsec_" in run_action(admin, CHANNELS, "rotate_selected", channel)
        endpoint.status = 500
        run_action(admin, CHANNELS, "test_selected", channel)
        channel_delivery.send_due(now=timezone.now())
        failed = ChannelDelivery.every_tenant.latest("id")
        assert "500" in admin.get(f"{MESSAGES}{failed.public_id}/change/").content.decode()

    page = admin.get(f"{CHANNELS}{channel.pk}/change/").content.decode()
    assert "whsec_" not in page
    admin.post(f"{CHANNELS}{channel.pk}/delete/", {"post": "yes"})
    assert not Channel.every_tenant.exists()


def test_an_internal_url_is_an_error_of_its_field(admin: Client) -> None:
    data = {"name": "Ops", "kind": "webhook", "url": "http://10.0.0.1/", "events": "alert.*"}

    response = admin.post(f"{CHANNELS}add/", data)

    assert "The address is in an internal network" in response.content.decode()


def test_operators_cannot_see_channels(tenant: Tenant) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)

    assert client.get(CHANNELS).status_code == 403


def test_pages_show_no_number_that_counts_the_rows_of_all_tenants(
    admin: Client, tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk), receiver() as endpoint:
        channel, _ = channels.create(name="Ops", kind="webhook", url=endpoint.url, now=now)
        message = channels.test(channel=channel, now=now)
    event = Event.every_tenant.get(pk=message.event_id)

    for url, row in ((MESSAGES, message), (EVENTS, event)):
        page = admin.get(url).content.decode()
        assert f"{url}{row.public_id}/change/" in page
        assert f"{url}{row.pk}/" not in page
        assert f'value="{row.pk}"' not in page
        assert admin.get(f"{url}{row.public_id}/change/").status_code == 200
        assert admin.get(f"{url}{row.pk}/change/").status_code == 302, "not found"
        found = admin.get(url, {"q": event.public_id}).content.decode()
        assert f"{url}{row.public_id}/change/" in found
        assert "/change/" not in admin.get(url, {"q": "0" * 16}).content.decode()
    assert f'value="{message.public_id}"' in admin.get(MESSAGES).content.decode()
