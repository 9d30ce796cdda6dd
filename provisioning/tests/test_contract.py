"""Property-based tests of every API endpoint against the OpenAPI document."""

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
from schemathesis.generation.hypothesis.builder import (
    HypothesisTestConfig,
    HypothesisTestMode,
    create_test,
)
from schemathesis.specs.openapi import checks

from accounts.services.tokens import issue_api_token
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.configurations.tests.documents import save_for_tenant
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token, renew_device_token
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from provisioning.tests.openapi import openapi_document
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
EXAMPLES = 12  # per endpoint; more would take too long in CI
SCHEMA = schemathesis.openapi.from_dict(openapi_document())
SCHEMA.app = get_wsgi_application()
# One test per endpoint, without schemathesis' collector: it builds all examples of all endpoints
# during the collection, in each process, and pytest-xdist drops the failures of its tests.
ENDPOINTS = [
    (method, path)
    for path, operations in openapi_document()["paths"].items()
    for method in sorted(operations)
]
SCHEMA.config.generation.allow_extra_parameters = False  # tested in test_bad_input
EXAMPLE_SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
# Endpoints that may reject input that is valid according to the schema. A schema cannot
# express, for example: the content of a certificate signing request, which identifiers a
# device needs, that an identifier is in use, that a period begins before it ends, that a
# tag exists, that a schedule does not overlap itself, the parameters of each type of
# command, the format of a version, or whether the state of a rollout allows a change.
STRICTER_THAN_SCHEMA = {
    "/devices/auto-register",
    "/devices",
    "/devices/{device_id}",
    "/devices/{device_id}/replace",
    "/sites",
    "/sites/{site_id}",
    "/devices/pair",
    "/devices/pair/token",
    "/devices/me/certificate",
    "/devices/{device_id}/certificates",
    "/devices/me/certificate/bundle",
    "/devices/me/certificate/acknowledge",
    "/.well-known/est/simpleenroll",
    "/.well-known/est/simplereenroll",
    "/certificates/validate",
    "/certificates/ocsp",
    "/devices/metrics",
    "/devices/metrics/aggregate",
    "/devices/{device_id}/metrics",
    "/monitoring/rules",
    "/monitoring/rules/{rule_id}",
    "/device-attributes/{key}",
    "/maintenance-windows",
    "/maintenance-windows/{window_id}",
    "/channels",
    "/channels/{channel_id}",
    "/configurations",
    "/configurations/preview",
    "/configurations/order",
    "/configurations/{configuration_id}",
    "/devices/me/configuration/reported",
    "/configurations/{configuration_id}/versions/{number}/restore",
    "/preferences",
    "/preferences/{key}",
    "/devices/me/settings",
    "/devices/{device_id}/settings",
    "/remote-control/{device_id}/command",
    "/devices/bulk",
    "/remote-control/bulk",
    "/devices/me/commands",
    "/devices/me/commands/{command_id}/answer",
    "/screenshots/{command_id}",
    "/updates/packages",
    "/updates/packages/{package_id}",
    "/updates/packages/{package_id}/file",
    "/updates/packages/{package_id}/withdraw",
    "/updates/rollouts",
    "/updates/rollouts/{rollout_id}",
    "/devices/me/updates/{rollout_id}/feedback",
}


@schemathesis.serializer("application/pkcs10", "application/ocsp-request")
def raw_body(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(autouse=True)
def unlimited(settings: Any) -> None:
    settings.RATES = dict.fromkeys(settings.RATES)


@pytest.fixture(autouse=True)
def shared_connection() -> Iterator[None]:
    """Let the requests use the test's transaction, as Django's test client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def credentials(tenant: Tenant) -> dict[str, str]:
    """A valid token for each authentication scheme, by name of the scheme."""
    now = datetime.now(UTC)
    membership = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    caller = DeviceFactory.create(tenant=tenant, name="calling")
    with tenant_scope(tenant.pk):
        return {
            "member": issue_api_token(membership=membership, name="t", now=now)[1],
            "enrollment": create_enrollment_token(name="t", now=now)[1],
            "device": renew_device_token(caller, now=now),
        }


class ExistingObjects:
    """Ids of the tenant's objects for path parameters. Missing objects are created."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def device_id(self) -> str:
        devices = Device.every_tenant.not_retired().filter(tenant=self.tenant)
        device = devices.exclude(name="calling").first()
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
        return str(save_for_tenant(self.tenant, document, now=now).pk)

    def insert_into(self, parameters: dict[str, Any]) -> None:
        """Replace the valid ids in a generated request by ids of existing objects."""
        for name, value in list(parameters.items()):
            if name == "device_id" and _is_uuid(value):
                parameters[name] = self.device_id()
            elif name == "serial_number" and str(value).isalnum():
                parameters[name] = self.serial_number()
            elif name == "configuration_id" and _is_uuid(value):
                parameters[name] = self.configuration_id()


@pytest.fixture
def existing(tenant: Tenant) -> ExistingObjects:
    return ExistingObjects(tenant)


def authorization(operation: Any, credentials: dict[str, str]) -> dict[str, str]:
    for requirement in operation.definition.raw.get("security", []):
        for name in requirement.keys() & credentials.keys():
            return {"Authorization": f"Bearer {credentials[name]}"}
    return {}


def is_tolerant(operation: Any) -> bool:
    """Return whether the request body is a device's message, which is used as far as possible."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    components = SCHEMA.raw_schema["components"]["schemas"]
    return "x-tolerant" in components.get(reference.rsplit("/", 1)[-1], {})


def excluded_checks(operation: Any) -> list[Any]:
    """Return the checks that do not apply to an endpoint."""
    # A device stays readable after it was retired with DELETE.
    excluded: list[Any] = [checks.use_after_free]
    # Invalid samples are rejected one by one. Other messages of devices are used as far as possible.
    # An OCSP responder answers everything (RFC 6960 §4.2.1).
    if operation.path in {"/devices/metrics", "/certificates/ocsp"} or is_tolerant(operation):
        excluded.append(checks.negative_data_rejection)
    if operation.path in STRICTER_THAN_SCHEMA:
        excluded.append(checks.positive_data_acceptance)
    return excluded


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_endpoint_conforms_to_the_openapi_document(
    method: str, path: str, credentials: dict[str, str], existing: ExistingObjects
) -> None:
    def conforms(case: Any) -> None:
        existing.insert_into(case.path_parameters)
        case.call_and_validate(
            headers=authorization(case.operation, credentials),
            excluded_checks=excluded_checks(case.operation),
        )

    config = HypothesisTestConfig(
        project=SCHEMA.config, modes=list(HypothesisTestMode), settings=EXAMPLE_SETTINGS
    )
    create_test(operation=SCHEMA[path][method], test_func=conforms, config=config)()


def test_values_of_one_response_can_be_used_in_the_next_request(
    credentials: dict[str, str],
) -> None:
    class Fleet(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Begin each scenario with the same rows."""
            self.savepoint = transaction.savepoint()

        def teardown(self) -> None:
            transaction.savepoint_rollback(self.savepoint)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": authorization(case.operation, credentials)}

        def validate_response(self, response: Any, case: Any, **kwargs: Any) -> None:
            case.validate_response(
                response,
                headers=authorization(case.operation, credentials),
                excluded_checks=excluded_checks(case.operation),
            )

    run_state_machine_as_test(
        Fleet, settings=settings(EXAMPLE_SETTINGS, max_examples=EXAMPLES, stateful_step_count=8)
    )


def _is_uuid(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
