"""Remote control in the portal: the control page, to many, the policy, the history."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from devices.registry.models import Device
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlPolicy,
    RemoteControlSession,
    Screenshot,
)
from devices.remote_control.services import bulk_commands, policies, sessions
from devices.remote_control.tests.remote_control import (
    online,
    person,
    picture,
    remote_controlled,
    told,
)
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
PORTAL = "/admin/remote_control"
NEW = f"{PORTAL}/bulkcommand/add/"
RELOAD: dict[str, Any] = {"type": "reload", "tag": "", "model": "", "status": ""}
SignedIn = Callable[..., Client]


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online(tenant, name="lobby")


@pytest.fixture
def signed_in(tenant: Tenant) -> SignedIn:
    def enter(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(person(tenant, role))
        return client

    return enter


def act(client: Client, device: Device, **said: Any) -> Any:
    if "parameters" in said:
        said["parameters"] = json.dumps(said["parameters"])
    where = f"{PORTAL}/remotecontrolsession/device/{device.pk}/act/"
    return client.post(where, said)


class TestTheControlPage:
    def test_a_device_is_taken_commanded_and_let_go(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        client = signed_in()

        taken = act(client, device, action="start").json()
        pressed = act(
            client,
            device,
            action="command",
            type="keypress",
            parameters={"key": "home"},
        ).json()
        let_go = act(client, device, action="end").json()

        assert (taken["is_mine"], pressed["open"]) == (True, 1)
        assert "Key: home" in pressed["history"]
        assert (let_go["is_mine"], let_go["controller"]) == (False, None)
        assert CommandHistory.every_tenant.get().status == "cancelled"

    @pytest.mark.parametrize(
        "said",
        [
            {"type": "keypress", "parameters": {"key": "nonsense"}},
            {"type": "keypress", "parameters": [1]},
            {"type": "nonsense"},
            {"type": "tap", "parameters": {"x": 1}},
        ],
    )
    def test_what_cannot_be_done_is_said_in_a_sentence(
        self, device: Device, signed_in: SignedIn, said: dict[str, Any]
    ) -> None:
        client = signed_in()
        act(client, device, action="start")

        refused = act(client, device, action="command", **said)

        assert refused.status_code == 409
        assert refused.json()["error"].endswith(".")
        assert refused.json()["is_mine"] is True

    @pytest.mark.parametrize("text", ["{{{", "[NaN]", '{"x": "\\ud800"}', "[" * 1999])
    def test_what_is_no_json_is_no_command(
        self, device: Device, signed_in: SignedIn, text: str
    ) -> None:
        where = f"{PORTAL}/remotecontrolsession/device/{device.pk}/act/"
        said = {"action": "command", "type": "reboot", "parameters": text}

        assert signed_in().post(where, said).status_code == 409

    def test_a_command_is_called_back(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        reboot = told(device, "reboot", by=person(tenant), now=datetime.now(UTC))

        done = act(signed_in(), device, action="cancel", command=reboot.pk)

        assert done.status_code == 200
        reboot.refresh_from_db()
        assert reboot.status == "cancelled"

    def test_a_viewer_looks_and_does_nothing(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        client = signed_in(Role.VIEWER)
        where = f"{PORTAL}/remotecontrolsession/device/{device.pk}/"

        page = client.get(where).content.decode()

        assert "Control it" not in page
        assert client.get(f"{where}state/").json()["online"] is True
        assert act(client, device, action="start").status_code == 403
        assert not RemoteControlSession.every_tenant.exists()

    def test_the_last_picture_is_shown_as_nothing_but_a_picture(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        _, _, shot = remote_controlled(device, datetime.now(UTC), by=person(tenant))
        Screenshot.every_tenant.filter(pk=shot.pk).update(image=picture())
        client = signed_in(Role.VIEWER)
        where = f"{PORTAL}/remotecontrolsession/device/{device.pk}/state/"

        address = client.get(where).json()["picture"]["address"]
        shown = client.get(address)

        assert shown.content == picture()
        assert "sandbox" in shown["Content-Security-Policy"]

    def test_the_superuser_controls_the_device_of_any_tenant(
        self, device: Device
    ) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("root@example.com", "x"))

        taken = act(client, device, action="start").json()

        assert taken["controller"] == "root@example.com"
        assert RemoteControlSession.every_tenant.get().tenant == device.tenant

    def test_the_devices_page_says_who_has_it(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        controller = person(tenant)
        with tenant_scope(tenant.pk):
            now = datetime.now(UTC)
            sessions.start(device=device, controller=controller, now=now)

        page = signed_in().get(f"/admin/devices/device/{device.pk}/change/")

        assert f"{controller.email} controls it" in page.content.decode()


class TestToMany:
    def test_it_is_counted_before_it_goes_out(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        client = signed_in()

        looked = client.post(NEW, RELOAD).content.decode()
        assert "1 device, 1 of them online now" in looked
        assert not BulkCommand.every_tenant.exists()

        sent = client.post(NEW, {**RELOAD, "found": "1"}, follow=True)
        assert "It goes out to 1 devices." in sent.content.decode()
        assert BulkCommand.every_tenant.get().state == "running"

    def test_when_there_are_others_meanwhile_it_is_counted_again(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        online(tenant)

        looked = signed_in().post(NEW, {**RELOAD, "found": "1"})

        assert "2 devices" in looked.content.decode()
        assert not BulkCommand.every_tenant.exists()

    def test_what_is_missing_stands_beside_its_field(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        refused = signed_in().post(NEW, {**RELOAD, "type": "set_volume"})

        form = refused.context["form"]
        assert list(form.errors) == ["volume"]

    def test_a_second_person_confirms_it(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            policies.change(blast_radius=0, now=datetime.now(UTC))
        first, second = signed_in(), signed_in()
        first.post(NEW, {**RELOAD, "found": "1"})
        row = BulkCommand.every_tenant.get()
        page, decide = (
            f"{PORTAL}/bulkcommand/{row.pk}/{end}/" for end in ("change", "decide")
        )

        assert "Confirm: command" not in first.get(page).content.decode()
        first.post(decide, {"confirm": "1"})
        row.refresh_from_db()
        assert row.state == "waiting"

        assert "Confirm: command 1 devices" in second.get(page).content.decode()
        second.post(decide, {"confirm": "1"})
        row.refresh_from_db()
        assert row.state == "running"

    def test_it_is_stopped(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            row = bulk_commands.request(
                type="reload",
                parameters={},
                filter={},
                by=person(tenant),
                now=datetime.now(UTC),
            )

        signed_in().post(f"{PORTAL}/bulkcommand/{row.pk}/decide/", {"stop": "1"})

        row.refresh_from_db()
        assert row.state == "cancelled"


class TestThePolicy:
    def test_an_admin_makes_one_and_changes_it(
        self, tenant: Tenant, signed_in: SignedIn
    ) -> None:
        client = signed_in(Role.ADMIN)
        where = f"{PORTAL}/remotecontrolpolicy/"
        assert client.get(where)["Location"].endswith("/add/")

        client.post(f"{where}add/", {"allowed_types": ["tap"], "blast_radius": 9})
        row = RemoteControlPolicy.every_tenant.get()
        client.post(
            f"{where}{row.pk}/change/", {"allowed_types": [], "blast_radius": 9}
        )

        row.refresh_from_db()
        assert (row.allowed_types, row.blast_radius) == ([], 9)
        assert str(row.pk) in client.get(where)["Location"]

    def test_an_operator_reads_it(self, tenant: Tenant, signed_in: SignedIn) -> None:
        client = signed_in()

        page = client.get(f"{PORTAL}/remotecontrolpolicy/")

        assert "Everything is allowed" in page.content.decode()
        assert client.post(f"{PORTAL}/remotecontrolpolicy/add/").status_code == 403


def test_the_history_is_narrowed_and_called_back(
    device: Device, tenant: Tenant, signed_in: SignedIn
) -> None:
    now = datetime.now(UTC)
    by = person(tenant)
    waiting = told(device, "reboot", by=by, now=now)
    over = told(device, "wake_up", by=by, now=now - timedelta(minutes=2))
    client = signed_in()
    where = f"{PORTAL}/commandhistory/"

    page = client.get(f"{where}?device__id__exact={device.pk}").content.decode()
    done = client.post(
        where, {"action": "call_back", "_selected_action": [waiting.pk, over.pk]}
    ).content.decode()

    assert page.count("lobby") >= 2
    assert "expired" in page
    assert "Called back." in done
    assert "it cannot be called back" in done
