"""Portal pages of remote control: control, bulk commands, policy and history."""

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
    create_member,
    create_remote_control_rows,
    issue_command,
    online_device,
    picture,
)
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
PORTAL = "/admin/remote_control"
NEW = f"{PORTAL}/bulkcommand/add/"
RELOAD: dict[str, Any] = {"type": "reload", "tag": "", "model": "", "status": ""}
SignedIn = Callable[..., Client]


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online_device(tenant, name="lobby")


@pytest.fixture
def signed_in(tenant: Tenant) -> SignedIn:
    def sign_in(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(create_member(tenant, role))
        return client

    return sign_in


def act(client: Client, device: Device, **fields: Any) -> Any:
    if "parameters" in fields:
        fields["parameters"] = json.dumps(fields["parameters"])
    url = f"{PORTAL}/remotecontrolsession/device/{device.pk}/act/"
    return client.post(url, fields)


class TestControlPage:
    def test_a_session_is_started_used_and_ended(self, device: Device, signed_in: SignedIn) -> None:
        client = signed_in()

        started = act(client, device, action="start").json()
        commanded = act(
            client, device, action="command", type="keypress", parameters={"key": "home"}
        ).json()
        ended = act(client, device, action="end").json()

        assert (started["is_mine"], commanded["open"]) == (True, 1)
        assert "Key press: home" in commanded["history"]
        assert (ended["is_mine"], ended["controller"]) == (False, None)
        assert CommandHistory.every_tenant.get().status == "cancelled"

    @pytest.mark.parametrize(
        "fields",
        [
            {"type": "keypress", "parameters": {"key": "nonsense"}},
            {"type": "keypress", "parameters": [1]},
            {"type": "nonsense"},
            {"type": "tap", "parameters": {"x": 1}},
        ],
    )
    def test_an_invalid_command_returns_an_error_message(
        self, device: Device, signed_in: SignedIn, fields: dict[str, Any]
    ) -> None:
        client = signed_in()
        act(client, device, action="start")

        refused = act(client, device, action="command", **fields)

        assert refused.status_code == 409
        assert refused.json()["error"].endswith(".")
        assert refused.json()["is_mine"] is True

    @pytest.mark.parametrize("text", ["{{{", "[NaN]", '{"x": "\\ud800"}', "[" * 1999])
    def test_invalid_json_is_refused(self, device: Device, signed_in: SignedIn, text: str) -> None:
        url = f"{PORTAL}/remotecontrolsession/device/{device.pk}/act/"
        fields = {"action": "command", "type": "reboot", "parameters": text}

        assert signed_in().post(url, fields).status_code == 409

    def test_a_command_is_cancelled(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        reboot = issue_command(device, "reboot", by=create_member(tenant), now=datetime.now(UTC))

        response = act(signed_in(), device, action="cancel", command=reboot.pk)

        assert response.status_code == 200
        reboot.refresh_from_db()
        assert reboot.status == "cancelled"

    def test_a_viewer_may_look_only(self, device: Device, signed_in: SignedIn) -> None:
        client = signed_in(Role.VIEWER)
        url = f"{PORTAL}/remotecontrolsession/device/{device.pk}/"

        page = client.get(url).content.decode()

        assert "Start session" not in page
        assert client.get(f"{url}state/").json()["online"] is True
        assert act(client, device, action="start").status_code == 403
        assert not RemoteControlSession.every_tenant.exists()

    def test_the_last_screenshot_is_served_as_an_image_only(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        _, _, shot = create_remote_control_rows(device, datetime.now(UTC), by=create_member(tenant))
        Screenshot.every_tenant.filter(pk=shot.pk).update(image=picture())
        client = signed_in(Role.VIEWER)
        url = f"{PORTAL}/remotecontrolsession/device/{device.pk}/state/"

        address = client.get(url).json()["picture"]["address"]
        response = client.get(address)

        assert response.content == picture()
        assert "sandbox" in response["Content-Security-Policy"]

    def test_a_superuser_controls_a_device_of_any_tenant(self, device: Device) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("root@example.com", "x"))

        started = act(client, device, action="start").json()

        assert started["controller"] == "root@example.com"
        assert RemoteControlSession.every_tenant.get().tenant == device.tenant

    def test_the_device_page_names_the_controller(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        controller = create_member(tenant)
        with tenant_scope(tenant.pk):
            now = datetime.now(UTC)
            sessions.start(device=device, controller=controller, now=now)

        page = signed_in().get(f"/admin/devices/device/{device.pk}/change/?tab=control")

        assert f"{controller.email} controls this device" in page.content.decode()


class TestBulkCommands:
    def test_devices_are_counted_before_the_command_is_sent(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        client = signed_in()

        preview = client.post(NEW, RELOAD).content.decode()
        assert "1 device, 1 of them online now" in preview
        assert not BulkCommand.every_tenant.exists()

        sent = client.post(NEW, {**RELOAD, "found": "1"}, follow=True)
        assert "Bulk command started. Devices: 1." in sent.content.decode()
        assert BulkCommand.every_tenant.get().state == "running"

    def test_a_changed_count_is_previewed_again(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        online_device(tenant)

        preview = signed_in().post(NEW, {**RELOAD, "found": "1"})

        assert "2 devices" in preview.content.decode()
        assert not BulkCommand.every_tenant.exists()

    def test_a_missing_volume_is_reported_at_its_field(
        self, device: Device, signed_in: SignedIn
    ) -> None:
        refused = signed_in().post(NEW, {**RELOAD, "type": "set_volume"})

        form = refused.context["form"]
        assert list(form.errors) == ["volume"]

    def test_a_second_member_confirms_a_bulk_command(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            policies.change(blast_radius=0, now=datetime.now(UTC))
        first, second = signed_in(), signed_in()
        first.post(NEW, {**RELOAD, "found": "1"})
        row = BulkCommand.every_tenant.get()
        page, decide = (f"{PORTAL}/bulkcommand/{row.pk}/{end}/" for end in ("change", "decide"))

        assert "Confirm for" not in first.get(page).content.decode()
        first.post(decide, {"confirm": "1"})
        row.refresh_from_db()
        assert row.state == "waiting"

        assert "Confirm for 1 device<" in second.get(page).content.decode()
        second.post(decide, {"confirm": "1"})
        row.refresh_from_db()
        assert row.state == "running"

    def test_a_bulk_command_is_cancelled(
        self, device: Device, signed_in: SignedIn, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            row = bulk_commands.request(
                type="reload",
                parameters={},
                filter={},
                by=create_member(tenant),
                now=datetime.now(UTC),
            )

        signed_in().post(f"{PORTAL}/bulkcommand/{row.pk}/decide/", {"stop": "1"})

        row.refresh_from_db()
        assert row.state == "cancelled"


class TestPolicy:
    def test_an_admin_creates_and_changes_the_policy(
        self, tenant: Tenant, signed_in: SignedIn
    ) -> None:
        client = signed_in(Role.ADMIN)
        url = f"{PORTAL}/remotecontrolpolicy/"
        assert client.get(url)["Location"].endswith("/add/")

        fields = {"blast_radius": 9, "screenshot_minutes": "60"}
        client.post(f"{url}add/", {**fields, "allowed_types": ["tap"]})
        row = RemoteControlPolicy.every_tenant.get()
        client.post(f"{url}{row.pk}/change/", {**fields, "allowed_types": []})

        row.refresh_from_db()
        assert (row.allowed_types, row.blast_radius, row.screenshot_minutes) == ([], 9, 60)
        assert str(row.pk) in client.get(url)["Location"]

    def test_an_operator_reads_the_policy(self, tenant: Tenant, signed_in: SignedIn) -> None:
        client = signed_in()

        page = client.get(f"{PORTAL}/remotecontrolpolicy/")

        assert "all command types are allowed" in page.content.decode()
        assert client.post(f"{PORTAL}/remotecontrolpolicy/add/").status_code == 403


def test_the_history_is_filtered_and_its_commands_are_cancelled(
    device: Device, tenant: Tenant, signed_in: SignedIn
) -> None:
    now = datetime.now(UTC)
    by = create_member(tenant)
    waiting = issue_command(device, "reboot", by=by, now=now)
    expired = issue_command(device, "wake_up", by=by, now=now - timedelta(minutes=2))
    client = signed_in()
    url = f"{PORTAL}/commandhistory/"

    page = client.get(f"{url}?device__id__exact={device.pk}").content.decode()
    report = client.post(
        url,
        {
            "action": "cancel_commands",
            "_selected_action": [waiting.pk, expired.pk],
            "confirmed": "yes",
        },
    ).content.decode()

    assert page.count("lobby") >= 2
    assert "expired" in page
    assert "Cancelled." in report
    assert "Only queued commands can be cancelled" in report


class TestSelectionOfTheDeviceList:
    LIST = "/admin/devices/device/"

    def selected(self, client: Client, **fields: Any) -> Any:
        data = {"action": "send_command", **fields}
        response = client.post(self.LIST, data)
        assert response["Location"].endswith(NEW), response.content.decode()
        return client.get(NEW).content.decode()

    def test_a_command_goes_to_the_selected_devices_only(
        self, tenant: Tenant, device: Device, signed_in: SignedIn
    ) -> None:
        other = online_device(tenant, name="kitchen")
        client = signed_in()

        page = self.selected(client, _selected_action=[str(device.pk)])

        assert "1 selected device" in page
        assert "Only devices with this tag" not in page
        selection = json.dumps({"devices": str(device.pk)})
        order = {"type": "reload", "selection": selection}
        assert "1 device, 1 of them online" in client.post(NEW, order).content.decode()
        client.post(NEW, {**order, "found": "1"})
        assert [row.device for row in run_commands()] == [device]
        assert other not in {row.device for row in CommandHistory.every_tenant.all()}

    def test_all_devices_that_match_the_filter_are_selected(
        self, tenant: Tenant, device: Device, signed_in: SignedIn
    ) -> None:
        client = signed_in()

        client.post(
            f"{self.LIST}?q=lobby",
            {"action": "send_command", "select_across": "1", "_selected_action": str(device.pk)},
        )

        assert "All devices with search lobby" in client.get(NEW).content.decode()

    @pytest.mark.parametrize("selection", ["nonsense", "[1]", '{"devices": 1}'])
    def test_a_selection_that_cannot_be_read_is_refused(
        self, device: Device, signed_in: SignedIn, selection: str
    ) -> None:
        page = signed_in().post(NEW, {"type": "reload", "selection": selection, "found": "1"})

        assert page.status_code == 200
        assert not BulkCommand.every_tenant.exists()

    def test_a_viewer_has_no_such_action(self, device: Device, signed_in: SignedIn) -> None:
        assert "Send a command" not in signed_in(Role.VIEWER).get(self.LIST).content.decode()
        assert "Send a command" in signed_in().get(self.LIST).content.decode()


def run_commands() -> list[CommandHistory]:
    now = datetime.now(UTC)
    with every_tenant_scope():
        while bulk_commands.process_next_batch(now=now):
            pass
    return list(CommandHistory.every_tenant.select_related("device"))
