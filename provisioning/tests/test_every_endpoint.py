"""Access control of every API endpoint: invalid credentials, other tenants, viewers.

The endpoints come from the OpenAPI document, so new endpoints are tested automatically.
An endpoint is either listed as public here, or it answers callers of other tenants with 401,
403 or 404 and without any data of the tenant under test.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.services.tokens import issue_api_token, revoke_token
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.bulk.models import BulkOperation
from devices.bulk.services import operations
from devices.configurations.models import DeviceConfiguration
from devices.configurations.tests.documents import save_for_device
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import windows
from devices.monitoring.models import Alert, AlertComment, MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.preferences.models import DeviceSettings, PreferenceDefinition
from devices.preferences.services import definitions
from devices.registry.models import Device, EnrollmentToken, IdentifierConflict, Site
from devices.registry.services.credentials import create_enrollment_token, renew_device_token
from devices.registry.tests.factories import (
    DeviceFactory,
    DeviceIdentifierFactory,
    IdentifierConflictFactory,
    SiteFactory,
    UnreadableFieldFactory,
)
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlSession,
    Screenshot,
)
from devices.remote_control.tests.remote_control import create_remote_control_rows
from devices.updates.models import Deployment, SoftwareProduct, SoftwareUpdate, UpdateStatus
from devices.updates.tests.rollouts import create_rollout_rows
from events.models import Channel, ChannelDelivery
from events.tests.factories import ChannelFactory
from provisioning.tests.openapi import openapi_document
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import ApiToken, Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PUBLIC = {
    ("get", "/certificates/ca.pem"),
    ("get", "/certificates/trusted.pem"),
    ("get", "/certificates/trusted.crl.pem"),
    ("get", "/certificates/ca.crl"),
    ("get", "/certificates/ca.crl.pem"),
    ("get", "/certificates/crl/{shard}.crl"),
    ("get", "/certificates/authorities/{key_identifier}.cer"),
    ("get", "/certificates/authorities/{key_identifier}.crl"),
    ("post", "/certificates/ocsp"),
    ("get", "/certificates/ocsp/{ocsp_request}"),
    ("get", "/.well-known/est/cacerts"),
    ("get", "/.well-known/est/csrattrs"),
    ("post", "/devices/pair"),  # for devices that have no credential yet
    ("post", "/devices/pair/token"),
    ("get", "/configurations/schema"),
    ("put", "/screenshots/{command_id}"),  # authenticated by the key in the query
}
DEVICE_ENDPOINTS = {  # each device only gets its own data here
    ("post", "/devices/connect"),
    ("post", "/devices/metrics"),
    ("get", "/devices/me"),
    ("get", "/devices/me/certificate"),
    ("get", "/devices/me/configuration"),
    ("post", "/devices/me/configuration/reported"),
    ("get", "/devices/me/commands"),
    ("get", "/devices/me/commands/stream"),
    ("get", "/devices/me/command-keys"),
    ("get", "/devices/me/settings"),
    ("get", "/devices/me/update"),
    ("patch", "/devices/me/settings"),
    ("post", "/devices/me/certificate"),
    ("post", "/devices/me/certificate/acknowledge"),
    ("post", "/devices/me/certificate/bundle"),
    ("post", "/.well-known/est/simpleenroll"),
    ("post", "/.well-known/est/simplereenroll"),
}
TENANT_ENDPOINTS = {  # each member only gets the data of its tenant here
    ("get", "/devices"),
    ("post", "/devices"),
    ("post", "/devices/auto-register"),
    ("get", "/devices/bulk"),
    ("post", "/devices/bulk"),
    ("get", "/device-attributes"),
    ("put", "/device-attributes/{key}"),
    ("get", "/sites"),
    ("post", "/sites"),
    ("get", "/devices/conflicts"),
    ("get", "/devices/unreadable-fields"),
    ("get", "/devices/stats/overview"),
    ("get", "/devices/metrics/aggregate"),
    ("post", "/certificates/validate"),
    ("get", "/monitoring/rules"),
    ("post", "/monitoring/rules"),
    ("get", "/maintenance-windows"),
    ("post", "/maintenance-windows"),
    ("get", "/monitoring/alerts"),
    ("get", "/channels"),
    ("get", "/channels/event-names"),
    ("post", "/channels"),
    ("get", "/configurations"),
    ("post", "/configurations"),
    ("get", "/configurations/platform"),
    ("get", "/configurations/order"),
    ("put", "/configurations/order"),
    ("post", "/configurations/preview"),
    ("get", "/remote-control/commands"),
    ("get", "/remote-control/command-types"),
    ("get", "/remote-control/policy"),
    ("patch", "/remote-control/policy"),
    ("get", "/remote-control/signing-keys"),
    ("post", "/remote-control/signing-keys"),
    ("get", "/remote-control/bulk"),
    ("post", "/remote-control/bulk"),
    ("get", "/updates/products"),
    ("post", "/updates/products"),
    ("get", "/updates/packages"),
    ("get", "/updates/rollouts"),
    ("get", "/updates/policy"),
    ("patch", "/updates/policy"),
    ("get", "/hawkbit/settings"),
    ("patch", "/hawkbit/settings"),
    ("get", "/updates/signing-keys"),
    ("post", "/updates/signing-keys"),
    ("get", "/preferences"),
    ("post", "/preferences"),
}
REJECTED = {401, 403, 404}
Endpoint = tuple[str, str]


DOCUMENT = openapi_document()
ENDPOINTS: list[Endpoint] = [
    (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods
]
PRIVATE = sorted(set(ENDPOINTS) - PUBLIC)


def body_fields(endpoint: Endpoint) -> set[str]:
    """Return the field names of an endpoint's request body."""
    method, path = endpoint
    content = DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = DOCUMENT["components"]["schemas"].get(reference.rsplit("/", 1)[-1], {})
    return set(schema.get("properties", ()))


@dataclass(frozen=True)
class Protected:
    """The objects of the tenant under test, which others must not read or change."""

    tenant: Tenant
    device: Device
    site: Site
    conflict: IdentifierConflict
    certificate: DeviceCertificate
    rule: MonitoringRule
    override: RuleOverride
    window: MaintenanceWindow
    alert: Alert
    channel: Channel
    message: ChannelDelivery
    configuration: DeviceConfiguration
    command: CommandHistory
    bulk: BulkCommand
    operation: BulkOperation
    screenshot: Screenshot
    product: SoftwareProduct
    package: SoftwareUpdate
    rollout: Deployment
    update: UpdateStatus

    def values(self) -> set[str]:
        """Return the ids, names and other texts of the objects. No response may contain them."""
        return {
            str(self.tenant.pk),
            self.tenant.name,
            str(self.device.pk),
            self.device.name,
            str(self.site.pk),
            self.site.name,
            "PROTECTED-SERIAL",
            self.conflict.value,
            "protected_field",
            self.certificate.serial_number,
            self.certificate.fingerprint,
            str(self.rule.pk),
            self.rule.name,
            str(self.window.pk),
            self.window.name,
            str(self.alert.pk),
            self.alert.title,
            str(self.channel.pk),
            self.channel.name,
            str(self.configuration.pk),
            str(self.command.pk),
            str(self.bulk.pk),
            str(self.operation.pk),
            str(self.screenshot.pk),
            self.command.issued_by,
            str(self.product.pk),
            str(self.package.pk),
            str(self.rollout.pk),
            self.package.version,
            self.product.name,
            "Protected Text",
            "Protected Preference",
        }

    def url(self, path: str) -> str:
        """Return the path with the ids of the protected objects."""
        path = path.replace("{device_id}", str(self.device.pk))
        path = path.replace("{site_id}", str(self.site.pk))
        path = path.replace("{conflict_id}", str(self.conflict.pk))
        path = path.replace("{serial_number}", self.certificate.serial_number)
        path = path.replace("{rule_id}", str(self.rule.pk))
        path = path.replace("{override_id}", str(self.override.pk))
        path = path.replace("{window_id}", str(self.window.pk))
        path = path.replace("{alert_id}", str(self.alert.pk))
        path = path.replace("{channel_id}", str(self.channel.pk))
        path = path.replace("{message_id}", str(self.message.pk))
        path = path.replace("{configuration_id}", str(self.configuration.pk))
        path = path.replace("{command_id}", str(self.command.pk))
        path = path.replace("{bulk_id}", str(self.bulk.pk))
        path = path.replace("{operation_id}", str(self.operation.pk))
        path = path.replace("{screenshot_id}", str(self.screenshot.pk))
        path = path.replace("{product_id}", str(self.product.pk))
        path = path.replace("{package_id}", str(self.package.pk))
        path = path.replace("{rollout_id}", str(self.rollout.pk))
        path = path.replace("{number}", "1")
        path = path.replace("{key}", "protected_preference")
        public = {public_path for _, public_path in PUBLIC}
        assert "{" not in path or path in public, f"Unknown parameter in {path}"
        return path

    def body(self) -> dict[str, Any]:
        """Return body fields with the ids of the protected objects."""
        return {
            "id": str(self.device.pk),
            "device": str(self.device.pk),
            "device_id": str(self.device.pk),
            "tenant": str(self.tenant.pk),
            "tenant_id": str(self.tenant.pk),
            "serial_number": "PROTECTED-SERIAL",
            "site": str(self.site.pk),
            "parent": str(self.site.pk),
            "replacement": str(self.device.pk),
            "name": "changed",
            "allow": True,
            "decision": "different",
            "reason": "keyCompromise",
            "certificate": self.certificate.pem,
            "threshold": 1,
            "text": "changed",
            "assignee": None,
            "scope": "device",
            "document": {"volume": 99},
            "tags": [],
            "key": "changed",
            "kind": "boolean",
            "default": True,
            "type": "reboot",
            "status": "failed",
            "filter": {"all": True},
            "blast_radius": 1,
            "approval_above": 1,
            "product": self.product.name,
            "version": "7.7.8",
            "package": str(self.package.pk),
            "attempt": 1,
            "settings": {"protected_preference": {"version": 0, "value": False}},
        }


@pytest.fixture(scope="module")
def protected(module_transaction: None) -> Protected:
    tenant = TenantFactory.create(name="Protected Tenant")
    site = SiteFactory.create(tenant=tenant, name="Protected Site")
    device = DeviceFactory.create(tenant=tenant, name="Protected Device", site=site)
    DeviceIdentifierFactory.create(device=device, written="PROTECTED-SERIAL")
    conflict = IdentifierConflictFactory.create(holder=device, value="protected-serial")
    UnreadableFieldFactory.create(device=device, field="protected_field")
    certificate = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )
    rule = RuleFactory.create(tenant=tenant, name="Protected Rule")
    override = RuleOverride.every_tenant.create(
        tenant=tenant, rule=rule, device=device, threshold=5
    )
    with tenant_scope(tenant.pk):
        start = datetime.now(UTC)
        window = windows.create(
            name="Protected Window", starts_at=start, ends_at=start + timedelta(hours=1), now=start
        )
    alert = AlertFactory.create(tenant=tenant, rule=rule, device=device, title="Protected Alert")
    channel = ChannelFactory.create(tenant=tenant, name="Protected Channel")
    now = datetime.now(UTC)
    message = ChannelDelivery.every_tenant.create(
        tenant=tenant,
        channel=channel,
        event_id=1,
        name="protected.event",
        created_at=now,
        due_at=now,
        delivered_at=now,
    )
    configuration = save_for_device(device, {"extra": {"text": "Protected Text"}}, now=now)
    with tenant_scope(tenant.pk):
        definitions.define(
            key="protected_preference",
            label="Protected Preference",
            kind="boolean",
            default=True,
            now=now,
        )
    by = User.objects.create_user("protected@example.com")
    product, package, rollout, update = create_rollout_rows(device, now, by=by)
    command, bulk, screenshot = create_remote_control_rows(device, now, by=by)
    with tenant_scope(tenant.pk):
        operation = operations.start(
            action="release", parameters={}, filter={}, by=by, now=now - timedelta(hours=1)
        )
    return Protected(
        tenant=tenant,
        device=device,
        site=site,
        conflict=conflict,
        certificate=certificate,
        rule=rule,
        override=override,
        window=window,
        alert=alert,
        channel=channel,
        message=message,
        configuration=configuration,
        command=command,
        bulk=bulk,
        operation=operation,
        screenshot=screenshot,
        product=product,
        package=package,
        rollout=rollout,
        update=update,
    )


def api_token(role: Role, tenant: Tenant | None = None) -> tuple[ApiToken, str]:
    membership = MembershipFactory.create(tenant=tenant or TenantFactory.create(), role=role)
    return issue_api_token(membership=membership, name="t", now=datetime.now(UTC))


def enrollment(tenant: Tenant) -> tuple[EnrollmentToken, str]:
    with tenant_scope(tenant.pk):
        return create_enrollment_token(name="t", now=datetime.now(UTC))


def device_token(device: Device) -> str:
    with tenant_scope(device.tenant_id):
        return renew_device_token(device, now=datetime.now(UTC))


def invalid_credentials(protected: Protected) -> Iterator[tuple[str, str]]:
    """Yield a description and an `Authorization` header that no endpoint may accept."""
    yield "none", ""
    for prefix in ("usr_", "enr_", "dev_", "xyz_"):
        yield f"unknown {prefix}", f"Bearer {tokens.make(prefix)}"
    now = datetime.now(UTC)
    for row, token in (api_token(Role.OWNER, protected.tenant), enrollment(protected.tenant)):
        revoke_token(row, now=now)
        yield f"revoked {row.prefix}", f"Bearer {token}"
    for row, token in (api_token(Role.OWNER, protected.tenant), enrollment(protected.tenant)):
        past = now - timedelta(seconds=1)
        type(row).every_tenant.filter(pk=row.pk).update(expires_at=past)
        yield f"expired {row.prefix}", f"Bearer {token}"
    replaced = device_token(protected.device)
    device_token(protected.device)
    yield "replaced dev_", f"Bearer {replaced}"
    yield "another scheme", f"Basic {api_token(Role.OWNER, protected.tenant)[1]}"


def send(protected: Protected, endpoint: Endpoint, credential: str, query: str = "") -> Any:
    """Request an endpoint with the protected objects in path and body."""
    client = APIClient()
    if credential:
        client.credentials(HTTP_AUTHORIZATION=credential)
    method, path = endpoint
    names = body_fields(endpoint)
    fields = {name: value for name, value in protected.body().items() if name in names}
    body = None if method in ("get", "delete") else fields
    if path.startswith("/.well-known/est/") and method == "post":
        request = protected.body()["certificate"]
        return client.generic("POST", path, request, "application/pkcs10")
    return getattr(client, method)(protected.url(path) + query, body)


def assert_no_protected_data(
    protected: Protected, response: Any, endpoint: Endpoint, caller: str
) -> None:
    content = response.content.decode()
    sent = {value for value in protected.body().values() if isinstance(value, str)}
    for value in protected.values() - sent:
        assert value not in content, (endpoint, caller, value)


def assert_unchanged(protected: Protected) -> None:
    product_name = protected.product.name
    protected.device.refresh_from_db()
    protected.certificate.refresh_from_db()
    assert protected.device.name == "Protected Device"
    assert protected.device.status == "offline"
    assert protected.device.tenant == protected.tenant
    assert protected.device.site == protected.site
    protected.site.refresh_from_db()
    assert protected.site.name == "Protected Site"
    assert not Site.every_tenant.exclude(tenant=protected.tenant).filter(parent=protected.site)
    assert protected.certificate.status == "active"
    protected.rule.refresh_from_db()
    protected.alert.refresh_from_db()
    assert (protected.rule.name, protected.rule.threshold) == ("Protected Rule", 90)
    protected.override.refresh_from_db()
    assert protected.override.threshold == 5
    assert protected.alert.status == "open"
    protected.channel.refresh_from_db()
    protected.message.refresh_from_db()
    assert (protected.channel.name, protected.channel.secret) == ("Protected Channel", "")
    assert protected.message.state == "delivered"
    protected.configuration.refresh_from_db()
    assert protected.configuration.number == 1
    assert PreferenceDefinition.every_tenant.filter(tenant=protected.tenant).count() == 1
    assert not DeviceSettings.every_tenant.exists()
    protected.command.refresh_from_db()
    protected.bulk.refresh_from_db()
    assert (protected.command.status, protected.bulk.state) == ("queued", "waiting")
    assert CommandHistory.every_tenant.filter(tenant=protected.tenant).count() == 1
    for row in (protected.product, protected.package, protected.rollout, protected.update):
        row.refresh_from_db()
    assert (protected.product.name, protected.package.state) == (product_name, "draft")
    assert (protected.rollout.state, protected.update.status) == ("draft", "pending")
    assert SoftwareUpdate.every_tenant.count() == 1
    assert Deployment.every_tenant.count() == 1
    assert not RemoteControlSession.every_tenant.filter(tenant=protected.tenant).exists()
    assert not AlertComment.every_tenant.exists()
    assert DeviceCertificate.objects.of_device(protected.device.pk).count() == 1


def test_the_document_contains_all_endpoints_listed_here() -> None:
    assert len(ENDPOINTS) > 15
    assert set(ENDPOINTS) >= PUBLIC | DEVICE_ENDPOINTS | TENANT_ENDPOINTS


@pytest.mark.parametrize("endpoint", PRIVATE, ids=" ".join)
def test_invalid_credentials_are_rejected(protected: Protected, endpoint: Endpoint) -> None:
    for caller, credential in invalid_credentials(protected):
        response = send(protected, endpoint, credential)
        assert response.status_code == 401, (caller, response.content)
        assert_no_protected_data(protected, response, endpoint, caller)
    assert_unchanged(protected)


@pytest.mark.parametrize("endpoint", PRIVATE, ids=" ".join)
def test_an_owner_of_another_tenant_has_no_access(protected: Protected, endpoint: Endpoint) -> None:
    response = send(protected, endpoint, f"Bearer {api_token(Role.OWNER)[1]}")

    if endpoint not in TENANT_ENDPOINTS:
        assert response.status_code in REJECTED, response.content
    assert_no_protected_data(protected, response, endpoint, "owner of another tenant")
    assert_unchanged(protected)


@pytest.mark.parametrize("endpoint", PRIVATE, ids=" ".join)
def test_a_device_of_another_tenant_has_no_access(protected: Protected, endpoint: Endpoint) -> None:
    token = device_token(DeviceFactory.create())

    response = send(protected, endpoint, f"Bearer {token}")

    if endpoint not in DEVICE_ENDPOINTS:
        assert response.status_code in REJECTED, response.content
    assert_no_protected_data(protected, response, endpoint, "device of another tenant")
    assert_unchanged(protected)


@pytest.mark.parametrize("endpoint", PRIVATE, ids=" ".join)
def test_an_enrollment_token_of_another_tenant_has_no_access(
    protected: Protected, endpoint: Endpoint
) -> None:
    _, token = enrollment(TenantFactory.create())

    response = send(protected, endpoint, f"Bearer {token}")

    if endpoint != ("post", "/devices/auto-register"):
        assert response.status_code in REJECTED, response.content
    assert_no_protected_data(protected, response, endpoint, "other enrollment token")
    assert_unchanged(protected)


@pytest.mark.parametrize(
    "endpoint",
    [endpoint for endpoint in PRIVATE if endpoint not in DEVICE_ENDPOINTS and endpoint[0] != "get"],
    ids=" ".join,
)
def test_a_viewer_changes_nothing(protected: Protected, endpoint: Endpoint) -> None:
    _, token = api_token(Role.VIEWER, protected.tenant)

    response = send(protected, endpoint, f"Bearer {token}")

    assert response.status_code == 403, response.content
    assert_unchanged(protected)


@pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in sorted(ENDPOINTS) if "get" in endpoint]
)
def test_a_filter_finds_no_objects_of_another_tenant(
    protected: Protected, endpoint: Endpoint
) -> None:
    token = api_token(Role.OWNER)[1]
    device, tenant = protected.device, protected.tenant
    for value in (device.pk, device.name, "PROTECTED-SERIAL", tenant.pk):
        for name in ("search", "tag", "model", "tenant", "id", "device"):
            response = send(protected, endpoint, f"Bearer {token}", f"?{name}={value}")
            assert device.name.encode() not in response.content, (endpoint, name, value)
