"""Tests of rollouts to simulated fleets, controlled in a real browser."""

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
from devices.registry.tests.waiting import wait_until
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet
from devices.simulation.tests.background_fleet import running_fleet
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import rollout_tick
from devices.updates.tests.rollouts import create_product, create_released_package, status_counts
from provisioning.tests.browser import MARKS, BrowserRunner, in_browser, sign_in
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]
PASSWORD = "correct horse battery"
DEVICE_COUNT = 20
# Seed of the simulation, and share of devices that fail.
ONE_IN_TWENTY, SIX_IN_TWENTY = ("b", 0.05), ("browser", 0.3)
VERSION = "9.0.0"


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def run_fleet(tenant: Tenant, live_server: Any, settings: Any) -> Any:
    """Return a context manager that runs a simulated fleet in which some updates fail."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="fleet", now=datetime.now(UTC))

    @contextmanager
    def run(seed: str, faults: float) -> Iterator[None]:
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=token,
            devices=DEVICE_COUNT,
            seed=seed,
            pace=FleetTiming(
                connect_every=1.0,
                report_every=600,
                start_within=1.0,
                silence_probability=0,
                use_push=False,
                update_failure_probability=faults,
                install_seconds=(0.1, 0.5),
            ),
            now=lambda: datetime.now(UTC),
        )
        with running_fleet(fleet), running_steps():
            online = Device.every_tenant.filter(status="online")
            wait_until(lambda: online.count() == DEVICE_COUNT, timeout=60)
            yield

    return run


@contextmanager
def running_steps() -> Iterator[None]:
    """Run due steps of rollouts in a thread, as Celery beat and a worker do."""
    stop = threading.Event()

    def run() -> None:
        with every_tenant_scope():
            while not stop.wait(0.2):
                Deployment.every_tenant.exclude(due_at=None).update(due_at=datetime.now(UTC))
                while rollout_tick.advance_next_rollout(now=datetime.now(UTC)):
                    pass
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def as_admin(tenant: Tenant, live_server: Any, in_browser: BrowserRunner) -> Callable[..., Any]:
    """Return a function that signs an administrator in to a browser and runs test steps."""
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
        return create_released_package(datetime.now(UTC), tmp_path / "in", VERSION)


def start_rollout(page: Page, base: str, package: SoftwareUpdate, waves: str) -> None:
    """Fill in the form of a rollout, preview its devices, and start it."""
    page.goto(f"{base}/admin/updates/deployment/add/?package={package.pk}")
    values = {"waves": waves, "soak_minutes": "0", "success_percent": "60", "failure_percent": "10"}
    for name, value in values.items():
        page.fill(f"#id_{name}", value)
    page.get_by_role("button", name="Preview devices").click()
    expect(page.locator("#rollout-plan")).to_contain_text(f"{DEVICE_COUNT} devices")
    page.get_by_role("button", name=f"Start update of {DEVICE_COUNT} devices").click()


def test_a_rollout_with_few_failures_finishes(
    run_fleet: Any, as_admin: Any, live_server: Any, package: SoftwareUpdate
) -> None:
    def steps(page: Page) -> None:
        start_rollout(page, live_server.url, package, "50 %, 100 %")
        wait_for_state(page, "Finished")
        page.reload()
        expect(page.locator("#rollout")).to_contain_text("19 of 20 devices updated")
        expect(page.locator("#rollout-waves")).to_contain_text("Passed")
        expect(page.locator("#rollout-failures tbody tr")).to_have_count(1)

    with run_fleet(*ONE_IN_TWENTY):
        as_admin(steps)

    rollout = Deployment.every_tenant.get()
    with tenant_scope(rollout.tenant_id):
        assert status_counts(rollout) == {"completed": 19, "failed": 1}
    assert Device.every_tenant.filter(app_version=VERSION).count() == 19


def test_a_rollout_with_many_failures_pauses_and_can_be_rolled_back(
    run_fleet: Any, as_admin: Any, live_server: Any, package: SoftwareUpdate
) -> None:
    def steps(page: Page) -> None:
        start_rollout(page, live_server.url, package, "100 %")
        wait_for_state(page, "Paused")
        page.reload()
        expect(page.locator("#rollout")).to_contain_text("devices failed")
        expect(page.locator("#rollout-waves")).to_contain_text("Failed")
        page.get_by_text("Roll back…").click()
        page.get_by_role("button", name="Roll back devices").click()
        wait_for_state(page, "Finished")

    with run_fleet(*SIX_IN_TWENTY):
        as_admin(steps)
        updated = Device.every_tenant.filter(app_version=VERSION)
        wait_until(lambda: not updated.exists(), timeout=60)
        under_way = UpdateStatus.every_tenant.open()
        wait_until(lambda: not under_way.exists(), timeout=60)

    rollback = Deployment.every_tenant.get(rolls_back__isnull=False)
    with tenant_scope(rollback.tenant_id):
        assert set(status_counts(rollback)) == {"completed"}
        assert "rolled_back" in status_counts(Deployment.objects.get(rollbacks=rollback))


def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page shows a state of the rollout.

    The page is reloaded, because it polls rarely if it has no event stream.
    """
    heading = page.locator("#rollout-title")
    for _ in range(60):
        if heading.inner_text() == state:
            return
        page.wait_for_timeout(1000)
        page.reload()
    raise AssertionError(f"The rollout is {heading.inner_text()}, not {state}.")


def test_a_file_is_uploaded_with_progress_and_errors_are_shown(
    as_admin: Any, live_server: Any, tenant: Tenant, tmp_path: Path
) -> None:
    with tenant_scope(tenant.pk):
        create_product(datetime.now(UTC))
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
