"""Channels and their messages in the portal."""

from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client

from events.models import Channel, ChannelDelivery
from events.tests.receiving import receiver
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
CHANNELS = "/admin/events/channel/"
MESSAGES = "/admin/events/channeldelivery/"


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
    return client


def act(client: Client, url: str, action: str, row: Any) -> str:
    said = {"action": action, ACTION_CHECKBOX_NAME: [str(row.pk)]}
    return client.post(url, said).content.decode()


def test_a_webhook_is_made_tried_and_its_message_sent_again(admin: Client) -> None:
    with receiver() as outsider:
        said = {
            "name": "Ops",
            "kind": "webhook",
            "url": outsider.url,
            "events": "alert.*\ndevice.*",
            "is_enabled": "on",
        }
        made = admin.post(f"{CHANNELS}add/", said)
        assert "whs_" in made.content.decode(), "shown once"
        channel = Channel.every_tenant.get()
        assert channel.events == ["alert.*", "device.*"]

        assert "It arrived within" in act(admin, CHANNELS, "test_selected", channel)
        message = ChannelDelivery.every_tenant.get()
        page = admin.get(f"{MESSAGES}{message.pk}/change/").content.decode()
        assert "200 thanks" in page
        assert "1 done" in act(admin, MESSAGES, "replay_selected", message)
        assert "whs_" in act(admin, CHANNELS, "rotate_selected", channel)
        outsider.status = 500
        assert "It did not arrive" in act(admin, CHANNELS, "test_selected", channel)

    page = admin.get(f"{CHANNELS}{channel.pk}/change/").content.decode()
    assert "whs_" not in page
    admin.post(f"{CHANNELS}{channel.pk}/delete/", {"post": "yes"})
    assert not Channel.every_tenant.exists()


def test_an_address_of_the_inside_is_refused_beside_its_field(admin: Client) -> None:
    said = {
        "name": "Ops",
        "kind": "webhook",
        "url": "http://10.0.0.1/",
        "events": "alert.*",
    }

    answer = admin.post(f"{CHANNELS}add/", said)

    assert "inside the server&#x27;s own network" in answer.content.decode()


def test_operators_do_not_see_channels(tenant: Tenant) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)

    assert client.get(CHANNELS).status_code == 403
