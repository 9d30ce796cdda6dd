"""The control page in a real browser, with a simulated device."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.waiting import wait_until
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import sessions
from devices.remote_control.tests.remote_control import create_member
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet
from devices.simulation.tests.background_fleet import running_fleet
from provisioning.tests.browser import MARKS, BrowserRunner, in_browser, sign_in
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
PASSWORD = "correct horse battery"
# No push server runs in these tests, so the device finds commands by connecting.
PACE = FleetTiming(
    connect_every=0.25,
    report_every=60,
    start_within=0,
    silence_probability=0,
    use_push=False,
    command_failure_probability=0,
)


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def device(tenant: Tenant, live_server: Any, settings: Any) -> Iterator[Device]:
    """A simulated device that runs during the test."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url  # screenshots are uploaded there
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="box", now=datetime.now(UTC))
    fleet = Fleet(
        url=live_server.url,
        enrollment_token=token,
        devices=1,
        seed="browser",
        pace=PACE,
        now=lambda: datetime.now(UTC),
    )
    with running_fleet(fleet):
        online = Device.every_tenant.filter(status="online")
        wait_until(online.exists)
        yield online.get()


@pytest.fixture
def on_control_page(
    device: Device, live_server: Any, in_browser: BrowserRunner
) -> Callable[..., Any]:
    """Return a function that opens the control page as a member and runs test steps."""

    def run(steps: Callable[[Page], Any], role: Role = Role.OPERATOR, **options: Any) -> Any:
        user = User.objects.create_user(f"{role}@example.com", PASSWORD)
        MembershipFactory.create(tenant=device.tenant, user=user, role=role)

        def all_steps(page: Page) -> Any:
            sign_in(page, live_server.url, user.email, PASSWORD)
            path = f"/admin/remote_control/remotecontrolsession/device/{device.pk}/"
            page.goto(f"{live_server.url}{path}")
            return steps(page)

        return in_browser(all_steps, **options)

    return run


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def command_status(page: Page, text: str) -> Any:
    """Return the status element of the newest command that the page shows with this text."""
    row = page.locator("#control-history tr", has_text=text).first
    return row.locator(".portal-mark")


def last_command(type: str) -> CommandHistory:
    return CommandHistory.every_tenant.filter(type=type)[0]


def test_a_member_controls_a_device_during_a_session(
    device: Device, on_control_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        expect(button(page, "Home")).to_be_disabled()
        button(page, "Start session").click()
        picture = page.locator("#screen-picture")
        expect(picture).to_be_visible()
        bounds: Any = picture.bounding_box()
        page.mouse.click(bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 4)
        expect(command_status(page, "Tap")).to_have_text("succeeded")
        expect(command_status(page, "Screenshot")).to_have_text("succeeded")
        page.mouse.move(bounds["x"] + 20, bounds["y"] + 100)
        page.mouse.down()
        page.mouse.move(bounds["x"] + 220, bounds["y"] + 100)
        page.mouse.up()
        expect(command_status(page, "Swipe")).to_have_text("succeeded")
        button(page, "Home").click()
        expect(command_status(page, "Key press: home")).to_have_text("succeeded")
        page.fill("#control-text", "Hello")
        page.press("#control-text", "Enter")
        expect(command_status(page, "Text input")).to_have_text("succeeded")
        button(page, "End session").click()
        expect(page.locator("#control-status")).to_have_text("No active session.")
        expect(button(page, "Home")).to_be_disabled()

    on_control_page(steps)

    tap = last_command("tap").parameters
    assert abs(tap["x"] - 960) <= 4
    assert abs(tap["y"] - 270) <= 4
    swipe = last_command("swipe").parameters
    assert swipe["from"]["x"] < swipe["to"]["x"]
    assert swipe["from"]["y"] == swipe["to"]["y"]
    assert last_command("input").parameters == {"text": "…"}
    assert Screenshot.every_tenant.count() >= 2


def test_the_volume_is_set_and_a_reboot_is_confirmed_first(
    device: Device, on_control_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        page.fill("#control-volume", "75")
        button(page, "Set volume").click()
        expect(command_status(page, "Set volume: 75")).to_have_text("succeeded")
        page.once("dialog", lambda dialog: dialog.dismiss())
        button(page, "Reboot").click()
        page.once("dialog", lambda dialog: dialog.accept())
        button(page, "Reboot").click()
        expect(command_status(page, "Reboot")).to_have_text("succeeded")

    on_control_page(steps)

    assert CommandHistory.every_tenant.filter(type="reboot").count() == 1


def test_a_device_that_another_member_controls_is_shown_only(
    device: Device, on_control_page: Callable[..., Any]
) -> None:
    other = create_member(device.tenant)
    with tenant_scope(device.tenant_id):
        sessions.start(device=device, controller=other, now=datetime.now(UTC))

    def steps(page: Page) -> None:
        expect(page.locator("#control-status")).to_have_text(f"{other.email} controls this device.")
        for name in ("Home", "Reboot", "Set volume"):
            expect(button(page, name)).to_be_disabled()
        expect(button(page, "Start session")).to_be_hidden()
        expect(button(page, "End session")).to_be_hidden()

    on_control_page(steps)


def test_an_administrator_ends_the_session(
    device: Device, on_control_page: Callable[..., Any]
) -> None:
    with tenant_scope(device.tenant_id):
        sessions.start(
            device=device, controller=create_member(device.tenant), now=datetime.now(UTC)
        )

    def steps(page: Page) -> None:
        button(page, "End session").click()
        expect(button(page, "Start session")).to_be_visible()

    on_control_page(steps, role=Role.ADMIN)


def test_a_viewer_sees_the_screen_without_buttons(
    device: Device, on_control_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        expect(page.locator("#control-status")).to_have_text("No active session.")
        assert page.locator("#remote-control button").count() == 0

    on_control_page(steps, role=Role.VIEWER, width=400, dark=True)
