"""Rollouts to simulated fleets that obey, begun and watched in a real browser."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Page, expect

from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.waiting import until
from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet
from devices.simulation.tests.living import living
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import rollout_tick
from devices.updates.tests.rollouts import product, released, statuses
from provisioning.tests.browser import MARKS, InBrowser, in_browser, sign_in
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
PASSWORD = "correct horse battery"
BOXES = 20
ONE_IN_TWENTY, SIX_IN_TWENTY = ("b", 0.05), ("browser", 0.3)  # seed, share that fails
VERSION = "9.0.0"


@pytest.fixture
def tenant() -> Tenant:
    made: Tenant = TenantFactory.create()
    return made


@pytest.fixture
def boxes(tenant: Tenant, live_server: Any, settings: Any) -> Any:
    """Let a fleet live, of which some fail to update themselves."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="fleet", now=datetime.now(UTC))

    @contextmanager
    def live(seed: str, faults: float) -> Iterator[None]:
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=token,
            devices=BOXES,
            seed=seed,
            pace=Pace(
                connect_every=1.0,
                report_every=600,
                start_within=1.0,
                silence=0,
                listens=False,
                faults=faults,
                installs_for=(0.1, 0.5),
            ),
            now=lambda: datetime.now(UTC),
        )
        with living(fleet), ticking():
            online = Device.every_tenant.filter(status="online")
            until(lambda: online.count() == BOXES, within=60)
            yield

    return live


@contextmanager
def ticking() -> Iterator[None]:
    """What beat and a worker do, in a thread beside the test."""
    over = threading.Event()

    def run() -> None:
        with every_tenant_scope():
            while not over.wait(0.2):
                Deployment.every_tenant.exclude(due_at=None).update(
                    due_at=datetime.now(UTC)
                )
                while rollout_tick.tick(now=datetime.now(UTC)):
                    pass
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def as_admin(
    tenant: Tenant, live_server: Any, in_browser: InBrowser
) -> Callable[..., Any]:
    """Steps of an administrator who is signed in."""
    user = User.objects.create_user("admin@ours.example", PASSWORD)
    MembershipFactory.create(tenant=tenant, user=user, role=Role.ADMIN)

    def run(steps: Callable[[Page], Any], **look: Any) -> Any:
        def all_steps(page: Page) -> Any:
            page.set_default_timeout(60_000)
            expect.set_options(timeout=60_000)
            sign_in(page, live_server.url, user.email, PASSWORD)
            return steps(page)

        return in_browser(all_steps, **look)

    return run


@pytest.fixture
def package(tenant: Tenant, tmp_path: Path) -> SoftwareUpdate:
    with tenant_scope(tenant.pk):
        return released(datetime.now(UTC), tmp_path / "in", VERSION)


def begin(page: Page, base: str, package: SoftwareUpdate, waves: str) -> None:
    """Fill in a rollout, look what it comes to, and start it."""
    page.goto(f"{base}/admin/updates/deployment/add/?package={package.pk}")
    terms = {
        "waves": waves,
        "soak_minutes": "0",
        "success_percent": "60",
        "failure_percent": "10",
    }
    for name, value in terms.items():
        page.fill(f"#id_{name}", value)
    page.get_by_role("button", name="Look what it comes to").click()
    expect(page.locator("#rollout-plan")).to_contain_text(f"{BOXES} devices")
    page.get_by_role("button", name=f"Start: update {BOXES} devices").click()


def test_a_rollout_in_which_one_in_twenty_fails_comes_to_its_end(
    boxes: Any, as_admin: Any, live_server: Any, package: SoftwareUpdate
) -> None:
    def steps(page: Page) -> None:
        begin(page, live_server.url, package, "50 %, 100 %")
        until_state(page, "Finished")
        page.reload()
        expect(page.locator("#rollout")).to_contain_text("19 of 20 devices are updated")
        expect(page.locator("#rollout-waves")).to_contain_text("Passed")
        expect(page.locator("#rollout-failures tbody tr")).to_have_count(1)

    with boxes(*ONE_IN_TWENTY):
        as_admin(steps)

    row = Deployment.every_tenant.get()
    with tenant_scope(row.tenant_id):
        assert statuses(row) == {"completed": 19, "failed": 1}
    assert Device.every_tenant.filter(app_version=VERSION).count() == 19


def test_a_rollout_in_which_six_in_twenty_fail_pauses_by_itself_and_goes_back(
    boxes: Any, as_admin: Any, live_server: Any, package: SoftwareUpdate
) -> None:
    def steps(page: Page) -> None:
        begin(page, live_server.url, package, "100 %")
        until_state(page, "Paused")
        page.reload()
        expect(page.locator("#rollout")).to_contain_text("devices have failed")
        expect(page.locator("#rollout-waves")).to_contain_text("Failed")
        page.get_by_text("Roll back…").click()
        page.get_by_role("button", name="Roll it back").click()
        until_state(page, "Finished")

    with boxes(*SIX_IN_TWENTY):
        as_admin(steps)
        updated = Device.every_tenant.filter(app_version=VERSION)
        until(lambda: not updated.exists(), within=60)
        under_way = UpdateStatus.every_tenant.open()
        until(lambda: not under_way.exists(), within=60)

    back = Deployment.every_tenant.get(rolls_back__isnull=False)
    with tenant_scope(back.tenant_id):
        assert set(statuses(back)) == {"completed"}
        assert "rolled_back" in statuses(Deployment.objects.get(rollbacks=back))


def until_state(page: Page, state: str) -> None:
    """The page looks by itself when something has happened; without a stream, seldom."""
    heading = page.locator("#rollout-title")
    for _ in range(60):
        if heading.inner_text() == state:
            return
        page.wait_for_timeout(1000)
        page.reload()
    raise AssertionError(f"It is {heading.inner_text()}, not {state}.")


def test_a_file_goes_up_with_a_bar_and_what_is_refused_is_said(
    as_admin: Any, live_server: Any, tenant: Tenant, tmp_path: Path
) -> None:
    with tenant_scope(tenant.pk):
        product(datetime.now(UTC))
    wrong, right = tmp_path / "empty.bin", tmp_path / "player.bin"
    wrong.write_bytes(b"")
    right.write_bytes(os.urandom(300_000))

    def steps(page: Page) -> None:
        page.goto(f"{live_server.url}/admin/updates/softwareupdate/add/")
        page.select_option("#id_product", label="player")
        page.fill("#id_version", VERSION)
        page.get_by_role("button", name="Save", exact=True).click()
        form = page.locator("#package-upload")
        form.locator("input[type=file]").set_input_files(wrong)
        form.get_by_role("button", name="Upload").click()
        expect(form.locator("[role=status]")).to_have_text("The file is empty.")
        form.locator("input[type=file]").set_input_files(right)
        form.get_by_role("button", name="Upload").click()
        expect(page.locator("#package")).to_contain_text("300.0 kB")
        page.get_by_role("button", name=f"Release {VERSION}").click()
        expect(page.locator("#package-title")).to_have_text("Released")

    as_admin(steps)

    assert SoftwareUpdate.every_tenant.get().state == "released"
