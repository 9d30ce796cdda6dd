"""The control page in a real browser, with a simulated device that obeys it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.waiting import until
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import sessions
from devices.remote_control.tests.remote_control import person
from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet
from devices.simulation.tests.living import living
from provisioning.tests.browser import MARKS, InBrowser, in_browser, sign_in
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
PASSWORD = "correct horse battery"
# Without the push channel, which is a process of its own, a box learns by connecting.
PACE = Pace(
    connect_every=0.25,
    report_every=60,
    start_within=0,
    silence=0,
    listens=False,
    clumsiness=0,
)


@pytest.fixture
def tenant() -> Tenant:
    made: Tenant = TenantFactory.create()
    return made


@pytest.fixture
def device(tenant: Tenant, live_server: Any, settings: Any) -> Iterator[Device]:
    """A simulated box that lives for as long as the test."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url  # where its pictures go
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
    with living(fleet):
        online = Device.every_tenant.filter(status="online")
        until(online.exists)
        yield online.get()


@pytest.fixture
def on_the_page(
    device: Device, live_server: Any, in_browser: InBrowser
) -> Callable[..., Any]:
    """Steps of a member who has opened the page of the device."""

    def run(
        steps: Callable[[Page], Any], role: Role = Role.OPERATOR, **look: Any
    ) -> Any:
        user = User.objects.create_user(f"{role}@example.com", PASSWORD)
        MembershipFactory.create(tenant=device.tenant, user=user, role=role)

        def all_steps(page: Page) -> Any:
            sign_in(page, live_server.url, user.email, PASSWORD)
            where = f"remotecontrolsession/device/{device.pk}/"
            page.goto(f"{live_server.url}/admin/remote_control/{where}")
            return steps(page)

        return in_browser(all_steps, **look)

    return run


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def history(page: Page, what: str) -> Any:
    """The state of the newest command that reads so."""
    row = page.locator("#control-history tr", has_text=what).first
    return row.locator(".portal-mark")


def last(type: str) -> CommandHistory:
    found: CommandHistory = CommandHistory.every_tenant.filter(type=type)[0]
    return found


def test_a_person_takes_the_device_touches_it_and_lets_it_go(
    device: Device, on_the_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        expect(button(page, "Home")).to_be_disabled()
        button(page, "Control it").click()
        picture = page.locator("#screen-picture")
        expect(picture).to_be_visible()
        box: Any = picture.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
        expect(history(page, "Tap")).to_have_text("succeeded")
        expect(history(page, "Screenshot")).to_have_text("succeeded")
        page.mouse.move(box["x"] + 20, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 220, box["y"] + 100)
        page.mouse.up()
        expect(history(page, "Swipe")).to_have_text("succeeded")
        button(page, "Home").click()
        expect(history(page, "Key: home")).to_have_text("succeeded")
        page.fill("#control-text", "Hello")
        page.press("#control-text", "Enter")
        expect(history(page, "Text")).to_have_text("succeeded")
        button(page, "Let it go").click()
        expect(page.locator("#control-status")).to_have_text("Nobody controls it.")
        expect(button(page, "Home")).to_be_disabled()

    on_the_page(steps)

    tap = last("tap").parameters
    assert abs(tap["x"] - 960) <= 4
    assert abs(tap["y"] - 270) <= 4
    swipe = last("swipe").parameters
    assert swipe["from"]["x"] < swipe["to"]["x"]
    assert swipe["from"]["y"] == swipe["to"]["y"]
    assert last("input").parameters == {"text": "…"}
    assert Screenshot.every_tenant.count() >= 2


def test_the_volume_is_set_and_a_reboot_asked_for_twice(
    device: Device, on_the_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        page.fill("#control-volume", "75")
        button(page, "Set").click()
        expect(history(page, "Set the volume: 75")).to_have_text("succeeded")
        page.once("dialog", lambda dialog: dialog.dismiss())
        button(page, "Reboot").click()
        page.once("dialog", lambda dialog: dialog.accept())
        button(page, "Reboot").click()
        expect(history(page, "Reboot")).to_have_text("succeeded")

    on_the_page(steps)

    assert CommandHistory.every_tenant.filter(type="reboot").count() == 1


def test_what_somebody_else_controls_is_looked_at(
    device: Device, on_the_page: Callable[..., Any]
) -> None:
    other = person(device.tenant)
    with tenant_scope(device.tenant_id):
        sessions.start(device=device, controller=other, now=datetime.now(UTC))

    def steps(page: Page) -> None:
        expect(page.locator("#control-status")).to_have_text(
            f"{other.email} controls it."
        )
        for name in ("Home", "Reboot", "Set"):
            expect(button(page, name)).to_be_disabled()
        expect(button(page, "Control it")).to_be_hidden()
        expect(button(page, "Let it go")).to_be_hidden()

    on_the_page(steps)


def test_an_administrator_ends_it(
    device: Device, on_the_page: Callable[..., Any]
) -> None:
    with tenant_scope(device.tenant_id):
        sessions.start(
            device=device, controller=person(device.tenant), now=datetime.now(UTC)
        )

    def steps(page: Page) -> None:
        button(page, "Let it go").click()
        expect(button(page, "Control it")).to_be_visible()

    on_the_page(steps, role=Role.ADMIN)


def test_a_viewer_sees_the_screen_and_nothing_to_press(
    device: Device, on_the_page: Callable[..., Any]
) -> None:
    def steps(page: Page) -> None:
        expect(page.locator("#control-status")).to_have_text("Nobody controls it.")
        assert page.locator("#remote-control button").count() == 0

    on_the_page(steps, role=Role.VIEWER, width=400, dark=True)
