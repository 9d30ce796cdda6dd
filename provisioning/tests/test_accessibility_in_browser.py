"""The portal with axe, with the keyboard, and on small screens."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from certificates.tests.issuance import issue_certificate
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device
from devices.registry.services.tags import set_tags
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory, SiteFactory
from devices.remote_control.tests.test_screens import add_screenshot
from events.tests.factories import ChannelFactory
from provisioning.tests.browser import MARKS, BrowserRunner, in_browser, sign_in
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
AXE = Path(__file__).parent / "data" / "axe-4.14.1.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
EMAIL, PASSWORD = "owner@example.com", "correct horse battery"
DEVICE = "/admin/devices/device/{device}/change/"
PAGES = (
    "/admin/",
    "/admin/devices/device/",
    DEVICE,
    *(
        f"{DEVICE}?tab={tab}"
        for tab in ("metrics", "alerts", "configuration", "control", "certificates", "history")
    ),
    "/admin/devices/site/",
    "/admin/devices/site/{site}/change/",
    "/admin/devices/site/add/",
    "/admin/sites/map/",
    "/admin/screens/",
    "/admin/monitoring/alert/",
    "/admin/monitoring/monitoringrule/",
    "/admin/monitoring/monitoringrule/add/",
    "/admin/maintenance/maintenancewindow/",
    "/admin/maintenance/maintenancewindow/add/",
    "/admin/devices/attributedefinition/add/",
    "/admin/accounts/signinprovider/add/",
    "/admin/account/",
    "/admin/tenants/tenant/{tenant}/change/",
    "/admin/tenants/tenant/{tenant}/delete-tenant/",
    "/admin/configurations/deviceconfiguration/",
    "/admin/updates/deployment/",
    "/admin/certificates/devicecertificate/",
    "/admin/events/event/",
    "/admin/events/channel/",
    "/admin/remote_control/commandhistory/",
    "/admin/imports/deviceimport/add/",
    "/admin/bulk/bulkoperation/",
    "/admin/devices/enrollmenttoken/add/",
    "/admin/accounts/invitation/add/",
    "/admin/pair/",
    "/admin/no/such/page/",
)


@pytest.fixture
def base(tenant: Tenant, live_server: Any, settings: Any) -> str:
    """Return the address of the portal of a tenant that has something on each page."""
    settings.RATES = dict.fromkeys(settings.RATES)
    user = User.objects.create_user(EMAIL, PASSWORD)
    MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    site = SiteFactory.create(tenant=tenant, name="Shop", latitude=52.5, longitude=13.4)
    now = timezone.now()
    for number in range(12):
        device = DeviceFactory.create(
            tenant=tenant, name=f"Screen {number:02}", status="online", last_seen=now, site=site
        )
    DeviceFactory.create(tenant=tenant, name="Screen without a connection")
    DeviceIdentifierFactory.create(device=device)
    add_screenshot(device, now - timedelta(hours=2))
    rule = RuleFactory.create(tenant=tenant)
    for severity in ("low", "medium", "high", "critical"):
        AlertFactory.create(
            tenant=tenant, rule=rule, device=device, severity=severity, settled_at=now
        )
    ChannelFactory.create(tenant=tenant)
    issue_certificate(device, now=datetime.now(UTC))
    with tenant_scope(tenant.pk):
        set_tags(device, ["lobby"])
    return str(live_server.url)


def addresses(base: str, tenant: Tenant) -> list[str]:
    device = Device.every_tenant.filter(tenant=tenant, certificates__isnull=False).get()
    return [
        base + path.format(device=device.pk, site=device.site_id, tenant=tenant.pk)
        for path in PAGES
    ]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 400])
def test_axe_finds_no_violation(
    tenant: Tenant, base: str, in_browser: BrowserRunner, width: int, dark: bool
) -> None:
    pages, script = addresses(base, tenant), AXE.read_text(encoding="utf-8")

    def check(some: list[str]) -> list[str]:
        def steps(page: Page) -> list[str]:
            sign_in(page, base, EMAIL, PASSWORD)
            faults = []
            for address in some:
                page.goto(address)
                page.wait_for_function("document.getElementById('main').getAttribute('role')")
                page.evaluate(script)
                result = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
                faults += [
                    f"{address.removeprefix(base)}: {fault['id']}: {fault['nodes'][0]['html'][:400]}"
                    for fault in result["violations"]
                ]
                sideways = "document.documentElement.scrollWidth - window.innerWidth"
                if page.evaluate(sideways) > 0:
                    faults.append(f"{address.removeprefix(base)} scrolls sideways")
            return faults

        return in_browser(steps, width=width, dark=dark)

    halves = pages[: len(pages) // 2], pages[len(pages) // 2 :]
    assert [fault for half in halves for fault in check(half)] == []


def test_everything_is_reached_with_the_keyboard(base: str, in_browser: BrowserRunner) -> None:
    def steps(page: Page) -> None:
        sign_in(page, base, EMAIL, PASSWORD)
        page.goto(f"{base}/admin/devices/device/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
        page.keyboard.press("Control+k")
        page.keyboard.type("screen 07")
        option = page.get_by_role("option", name="Screen 07")
        expect(option).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Enter")
        expect(page).to_have_title("Screen 07 | Change device | provisioning")
        page.keyboard.press("Control+k")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        tab = page.get_by_role("link", name="History", exact=True)
        tab.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Events")).to_be_visible()
        page.goto(f"{base}/admin/sites/map/")
        marker = page.locator(".leaflet-marker-icon").first
        marker.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Shop")).to_be_visible()

    in_browser(steps)


def test_a_bulk_operation_is_started_from_a_selection(
    tenant: Tenant, base: str, in_browser: BrowserRunner
) -> None:
    def steps(page: Page) -> None:
        sign_in(page, base, EMAIL, PASSWORD)
        page.goto(f"{base}/admin/devices/device/")
        page.locator("input.action-select").first.check()
        page.locator("select[name=action]").select_option("bulk_add_tags")
        page.get_by_role("button", name="Run").click()
        page.get_by_label("Tags").fill("checked in a browser")
        page.get_by_role("button", name="Add tags: 1 device").click()
        expect(page.locator("#bulk-operation-title")).to_have_text("Add tags: checked in a browser")

    in_browser(steps)


@pytest.mark.parametrize("path", ["/admin/devices/device/", "/admin/screens/"])
def test_a_list_shows_six_devices_on_a_small_screen(
    base: str, in_browser: BrowserRunner, path: str
) -> None:
    def steps(page: Page) -> int:
        sign_in(page, base, EMAIL, PASSWORD)
        page.goto(base + path)
        rows = page.locator("#result_list tr.data-row, article.portal-tile")
        rows.first.evaluate("row => row.scrollIntoView({ block: 'start' })")
        return sum(
            box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 900
            for box in (row.bounding_box() for row in rows.all())
        )

    assert in_browser(steps, width=400) >= 6


def test_the_menu_is_opened_with_the_keyboard_on_a_small_screen(
    base: str, in_browser: BrowserRunner
) -> None:
    def steps(page: Page) -> None:
        sign_in(page, base, EMAIL, PASSWORD)
        page.goto(f"{base}/admin/devices/device/")
        screens = page.get_by_role("link", name="Screens")
        expect(screens).not_to_be_visible()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Menu":
                break
        page.keyboard.press("Enter")
        expect(screens).to_be_visible()

    in_browser(steps, width=400)
