"""The API against its own OpenAPI document: it keeps what it promises, whatever is sent."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.specs.openapi import checks

from accounts.services.tokens import issue_api_token
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.configurations.tests.documents import for_tenant
from devices.registry.models import Device
from devices.registry.services.credentials import (
    create_enrollment_token,
    renew_device_token,
)
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
EXAMPLES = 12  # of each endpoint; CI bears it
SCHEMA = schemathesis.openapi.from_wsgi("/schema", get_wsgi_application())
SCHEMA.config.generation.allow_extra_parameters = False  # has a test of its own
EACH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# A schema cannot say what is a request for a certificate, which of these identifies a
# box, that something else has the identifier already, that no more is used than there
# is, that a period begins before it ends, that a tag is there, which address is one,
# that a schedule does not overlap itself, what a type of command wants to know, how many
# commands there ever were, what is a version, or whether a rollout may do this now.
BEYOND_A_SCHEMA = {
    *("/devices/auto-register", "/devices", "/devices/pair", "/devices/pair/token"),
    *("/devices/me/certificate", "/devices/{device_id}/certificates"),
    *("/devices/me/certificate/bundle", "/devices/me/certificate/acknowledge"),
    *("/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"),
    *("/certificates/validate", "/certificates/ocsp"),
    *("/devices/metrics", "/devices/metrics/aggregate", "/devices/{device_id}/metrics"),
    *("/monitoring/rules", "/monitoring/rules/{rule_id}"),
    *("/channels", "/channels/{channel_id}"),
    *("/configurations", "/configurations/preview", "/configurations/order"),
    *("/configurations/{configuration_id}", "/devices/me/configuration/reported"),
    "/configurations/{configuration_id}/versions/{number}/restore",
    *("/preferences", "/preferences/{key}", "/devices/me/settings"),
    "/devices/{device_id}/settings",
    *("/remote-control/{device_id}/command", "/remote-control/bulk"),
    *("/devices/me/commands", "/devices/me/commands/{command_id}/answer"),
    "/screenshots/{command_id}",
    *("/updates/packages", "/updates/packages/{package_id}"),
    *("/updates/packages/{package_id}/file", "/updates/packages/{package_id}/withdraw"),
    *("/updates/rollouts", "/updates/rollouts/{rollout_id}"),
    "/devices/me/updates/{rollout_id}/feedback",
}


@schemathesis.serializer("application/pkcs10", "application/ocsp-request")
def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(autouse=True)
def unlimited(settings: Any) -> None:
    settings.RATES = dict.fromkeys(settings.RATES)


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The requests see the test's transaction, as with Django's own test client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def callers(tenant: Tenant) -> dict[str, str]:
    """A good credential of each kind."""
    now = datetime.now(UTC)
    membership = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    caller = DeviceFactory.create(tenant=tenant, name="calling")
    with tenant_scope(tenant.pk):
        return {
            "member": issue_api_token(membership=membership, name="t", now=now)[1],
            "enrollment": create_enrollment_token(name="t", now=now)[1],
            "device": renew_device_token(caller, now=now),
        }


class Stage:
    """Things of the tenant that a request can be about; new ones when they are over."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def device_id(self) -> str:
        living = Device.every_tenant.living().filter(tenant=self.tenant)
        device = living.exclude(name="calling").first()
        if device is None:
            device = DeviceFactory.create(tenant=self.tenant)
            DeviceIdentifierFactory.create(device=device)
        return str(device.pk)

    def serial_number(self) -> str:
        device = Device.every_tenant.get(pk=self.device_id())
        certificate = CertificateManagementService().issue_certificate(
            device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
        )
        return certificate.serial_number

    def configuration_id(self) -> str:
        document, now = {"volume": 5}, datetime.now(UTC)
        return str(for_tenant(self.tenant, document, now=now).pk)


@pytest.fixture
def stage(tenant: Tenant) -> Stage:
    return Stage(tenant)


def credential(operation: Any, callers: dict[str, str]) -> dict[str, str]:
    for requirement in operation.definition.raw.get("security", []):
        for name in requirement.keys() & callers.keys():
            return {"Authorization": f"Bearer {callers[name]}"}
    return {}


def left_out(operation: Any) -> list[Any]:
    """A retired device stays readable: history is not forgotten."""
    excluded: list[Any] = [checks.use_after_free]
    if operation.path == "/devices/metrics":  # what is wrong is refused one by one
        excluded.append(checks.negative_data_rejection)
    if operation.path in BEYOND_A_SCHEMA:
        excluded.append(checks.positive_data_acceptance)
    return excluded


def test_of(operation: Any) -> Any:
    """One endpoint's test; a name of its own, or parallel runs would lose it."""
    schema = SCHEMA.include(method=operation.method.upper(), path=operation.path)

    @schema.parametrize()
    @EACH
    def keeps_its_promises(case: Any, callers: dict[str, str], stage: Stage) -> None:
        for name, value in list(case.path_parameters.items()):
            if name == "device_id" and _is_uuid(value):
                case.path_parameters[name] = stage.device_id()
            elif name == "serial_number" and str(value).isalnum():
                case.path_parameters[name] = stage.serial_number()
            elif name == "configuration_id" and _is_uuid(value):
                case.path_parameters[name] = stage.configuration_id()
        case.call_and_validate(
            headers=credential(case.operation, callers),
            excluded_checks=left_out(case.operation),
        )

    return keeps_its_promises


test_of.__test__ = False  # type: ignore[attr-defined]
for found in SCHEMA.get_all_operations():
    endpoint: Any = found.ok()  # type: ignore[union-attr] # it fails where it should
    named = re.sub(r"\W+", "_", endpoint.label.lower())
    globals()[f"test_{named}_keeps_its_promises"] = test_of(endpoint)


def test_what_one_answer_says_can_be_used_in_the_next_request(
    callers: dict[str, str],
) -> None:
    class Fleet(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Each scenario begins with the same rows."""
            self.beginning = transaction.savepoint()

        def teardown(self) -> None:
            transaction.savepoint_rollback(self.beginning)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": credential(case.operation, callers)}

        def validate_response(self, response: Any, case: Any, **kwargs: Any) -> None:
            case.validate_response(
                response,
                headers=credential(case.operation, callers),
                excluded_checks=left_out(case.operation),
            )

    run_state_machine_as_test(
        Fleet,
        settings=settings(EACH, max_examples=EXAMPLES, stateful_step_count=8),
    )


def _is_uuid(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
