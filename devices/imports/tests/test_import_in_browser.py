"""An import from the upload to the report, in a browser."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from devices.imports.services import work
from devices.imports.tests import files
from devices.registry.models import Device
from provisioning.tests.browser import MARKS, BrowserRunner, in_browser, sign_in
from tenants.context import every_tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
PASSWORD = "correct horse battery"
EMAIL = "operator@example.com"


def run_worker() -> None:
    with every_tenant_scope():
        while work.next_slice(now=lambda: datetime.now(UTC), time_is_up=lambda: False):
            pass


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (400, True)])
def test_a_file_is_imported_in_a_browser(
    tenant: Tenant,
    live_server: Any,
    in_browser: BrowserRunner,
    tmp_path: Path,
    width: int,
    dark: bool,
) -> None:
    user = User.objects.create_user(EMAIL, PASSWORD)
    MembershipFactory.create(tenant=tenant, user=user, role=Role.OPERATOR)
    file = tmp_path / "Geräte.csv"
    file.write_bytes(files.REPEATED)

    def signed_in(page: Page) -> None:
        sign_in(page, live_server.url, EMAIL, PASSWORD)

    def upload(page: Page) -> None:
        signed_in(page)
        page.goto(f"{live_server.url}/admin/devices/device/")
        page.get_by_role("link", name="Import devices").click()
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#import-title")).to_have_text("Waiting for its columns")
        expect(page.get_by_label("Field of the column serial_number")).to_have_value(
            "serial_number"
        )
        _no_sideways_scrolling(page)
        page.get_by_role("button", name="Check the rows").press("Enter")
        expect(page.locator("#import-title")).to_have_text("Checking")

    def start(page: Page) -> None:
        signed_in(page)
        page.goto(f"{live_server.url}/admin/imports/deviceimport/")
        page.get_by_role("link", name="Geräte.csv").click()
        expect(page.locator("#rows-repeated")).to_have_text("Repeated: 1")
        _no_sideways_scrolling(page)
        page.get_by_role("button", name="Import 1 row").click()
        expect(page.locator("#import-title")).to_have_text("Running")

    def read_report(page: Page) -> None:
        signed_in(page)
        page.goto(f"{live_server.url}/admin/imports/deviceimport/")
        page.get_by_role("link", name="Geräte.csv").click()
        expect(page.locator("#import-title")).to_have_text("Finished")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the report (CSV)").click()
        assert "The same device as row 2." in download.value.path().read_text("utf-8-sig")

    for steps in (upload, start, read_report):
        in_browser(steps, width=width, dark=dark)
        run_worker()

    assert Device.every_tenant.get().name == "One"


def _no_sideways_scrolling(page: Page) -> None:
    width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0
