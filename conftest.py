"""Fixtures shared by the tests of all packages."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from redis import Redis
from rest_framework.test import APIClient

from accounts.services.tokens import issue_api_token
from certificates.services import ocsp_responses
from certificates.services.device_certificates import DeviceCertificatesService
from devices.metrics.services import partitions
from devices.monitoring.services import immediate_checks
from devices.registry.models import Device, EnrollmentToken
from devices.registry.services.credentials import create_enrollment_token, renew_device_token
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from provisioning.tests.worker_process import running_worker
from tenants.context import SYSTEM, caller_scope, every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

# No test fails because the machine is slow.
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Allow the audit log to be emptied after a test that commits."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for table in ("event", "seal"):
            cursor.execute(f"DROP TRIGGER {table}_not_emptied ON events_{table}")


@pytest.fixture(scope="session", autouse=True)
def static_files_on_demand() -> Iterator[None]:
    """Find static files on demand. Do not search all of them for every new test client."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def unbound() -> Iterator[None]:
    """Start each test as the system caller, without a tenant, with all tenants visible."""
    with tenant_scope(None), every_tenant_scope(), caller_scope(SYSTEM):
        yield


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """Let each test read what a process knows for some seconds, such as its own rules."""
    immediate_checks.clear_cache()
    ocsp_responses.forget_issuers()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the files of a CA once per process. The CA is valid at the times of all tests."""
    root = tmp_path_factory.mktemp("authority")
    with override_settings(CA_VALIDITY_DAYS=200 * 365):
        DeviceCertificatesService(root).initialize_ca(
            now=datetime(2020, 1, 1, tzinfo=UTC), key_type="ec"
        )
    return root


@pytest.fixture(autouse=True)
def certificates_root(tmp_path: Path, authority: Path) -> Iterator[Path]:
    """Give each test a separate certificates folder with the CA of this process."""
    root = tmp_path / "certificates"
    shutil.copytree(authority, root)
    before = settings.CERTIFICATES_ROOT
    settings.CERTIFICATES_ROOT = str(root)
    yield root
    settings.CERTIFICATES_ROOT = before


@pytest.fixture(autouse=True)
def quiet_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Wait until a live server has finished all requests, before the database is emptied.

    Emptying the tables locks all of them, and would deadlock with a request.
    """
    if "live_server" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("transactional_db")  # so that this fixture ends first
    yield
    wait_until(_other_sessions_are_idle)


def _other_sessions_are_idle() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE state <> 'idle'"
            " AND datname = current_database() AND pid <> pg_backend_pid())"
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture
def tenant(db: None) -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def acting(tenant: Tenant) -> Iterator[Tenant]:
    """Use the tenant as the current tenant during the test."""
    with tenant_scope(tenant.pk):
        yield tenant


@pytest.fixture
def device(tenant: Tenant) -> Device:
    made: Device = DeviceFactory.create(tenant=tenant)
    return made


@pytest.fixture
def member(tenant: Tenant) -> Callable[..., APIClient]:
    """Return a function that returns an API client of a member with a role."""

    def calling(role: Role = Role.OPERATOR, of: Tenant | None = None) -> APIClient:
        membership = MembershipFactory.create(tenant=of or tenant, role=role)
        _, token = issue_api_token(membership=membership, name="test", now=datetime.now(UTC))
        return client_with_token(token)

    return calling


@pytest.fixture
def enrollment(tenant: Tenant) -> Callable[..., tuple[EnrollmentToken, APIClient]]:
    """Return a function that creates an enrollment token and a client that uses the token."""

    def made(**limits: Any) -> tuple[EnrollmentToken, APIClient]:
        with tenant_scope(tenant.pk):
            row, token = create_enrollment_token(name="test", now=datetime.now(UTC), **limits)
        return row, client_with_token(token)

    return made


@pytest.fixture
def as_device() -> Callable[[Device], APIClient]:
    """Return a function that returns an API client of a device."""

    def calling(device: Device) -> APIClient:
        with tenant_scope(device.tenant_id):
            token = renew_device_token(device, now=datetime.now(UTC))
        return client_with_token(token)

    return calling


@pytest.fixture
def celery_worker(transactional_db: None) -> Iterator[None]:
    """Run a Celery worker in a separate process on the test's database and broker.

    The queues are emptied first, because they may contain tasks of an earlier test.
    """
    with Redis.from_url(settings.REDIS_BROKER_URL) as broker:
        broker.flushdb()
    with running_worker():
        yield


@pytest.fixture
def partitions_dropped(transactional_db: None) -> Iterator[None]:
    """Drop all partitions after a test. Each partition makes emptying the tables slower."""
    yield
    for table in (partitions.SAMPLES, *partitions.ROLL_UPS):
        partitions.drop_expired(table, before=datetime(9000, 1, 1, tzinfo=UTC))


def client_with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client
