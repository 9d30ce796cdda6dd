"""Every path and method of the OpenAPI document, tried by everybody who must not enter.

A new endpoint joins by existing. It is either public, and listed so here, or it answers
a stranger with 401, 403 or 404 and without a byte of ours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from accounts.services.tokens import issue_api_token, revoke_token
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.configurations.models import DeviceConfiguration
from devices.configurations.tests.documents import for_device
from devices.monitoring.models import (
    Alert,
    AlertComment,
    MonitoringRule,
    RuleOverride,
)
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.preferences.models import DeviceSettings, PreferenceDefinition
from devices.preferences.services import definitions
from devices.registry.models import Device, EnrollmentToken
from devices.registry.services.credentials import (
    create_enrollment_token,
    renew_device_token,
)
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlSession,
    Screenshot,
)
from devices.remote_control.tests.remote_control import remote_controlled
from devices.updates.models import (
    Deployment,
    SoftwareProduct,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.tests.rollouts import in_a_rollout
from events.models import Channel, ChannelDelivery
from events.tests.factories import ChannelFactory
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
    ("post", "/devices/pair"),  # a box that has no credential yet
    ("post", "/devices/pair/token"),
    ("get", "/configurations/schema"),
    ("put", "/screenshots/{command_id}"),  # the key in its query opens it
}
OF_A_DEVICE = {  # a stranger's device meets itself there, and nothing of ours
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
OF_A_TENANT = {  # a stranger's member meets their own tenant there
    ("get", "/devices"),
    ("post", "/devices"),
    ("post", "/devices/auto-register"),
    ("get", "/devices/stats/overview"),
    ("get", "/devices/metrics/aggregate"),
    ("post", "/certificates/validate"),
    ("get", "/monitoring/rules"),
    ("post", "/monitoring/rules"),
    ("get", "/monitoring/alerts"),
    ("get", "/channels"),
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
    ("get", "/updates/signing-keys"),
    ("post", "/updates/signing-keys"),
    ("get", "/preferences"),
    ("post", "/preferences"),
}
REFUSED = {401, 403, 404}
Door = tuple[str, str]


DOCUMENT = SchemaGenerator().get_schema(request=None, public=True)
DOORS: list[Door] = [
    (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods
]


def fields_of(door: Door) -> set[str]:
    """What the body of a request may say."""
    method, path = door
    content = DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = DOCUMENT["components"]["schemas"].get(reference.rsplit("/", 1)[-1], {})
    return set(schema.get("properties", ()))


@dataclass(frozen=True)
class Ours:
    """What must not be reached, and must not be told."""

    tenant: Tenant
    device: Device
    certificate: DeviceCertificate
    rule: MonitoringRule
    override: RuleOverride
    alert: Alert
    channel: Channel
    message: ChannelDelivery
    configuration: DeviceConfiguration
    command: CommandHistory
    bulk: BulkCommand
    screenshot: Screenshot
    product: SoftwareProduct
    package: SoftwareUpdate
    rollout: Deployment
    update: UpdateStatus

    def words(self) -> set[str]:
        return {
            str(self.tenant.pk),
            self.tenant.name,
            str(self.device.pk),
            self.device.name,
            "OUR-SERIAL",
            self.certificate.serial_number,
            self.certificate.fingerprint,
            str(self.rule.pk),
            self.rule.name,
            str(self.alert.pk),
            self.alert.title,
            str(self.channel.pk),
            self.channel.name,
            str(self.configuration.pk),
            str(self.command.pk),
            str(self.bulk.pk),
            str(self.screenshot.pk),
            self.command.issued_by,
            str(self.product.pk),
            str(self.package.pk),
            str(self.rollout.pk),
            self.package.version,
            "Ours Unmistakably",
            "The Text That Is Ours",
            "The Preference That Is Ours",
        }

    def address(self, path: str) -> str:
        path = path.replace("{device_id}", str(self.device.pk))
        path = path.replace("{serial_number}", self.certificate.serial_number)
        path = path.replace("{rule_id}", str(self.rule.pk))
        path = path.replace("{override_id}", str(self.override.pk))
        path = path.replace("{alert_id}", str(self.alert.pk))
        path = path.replace("{channel_id}", str(self.channel.pk))
        path = path.replace("{message_id}", str(self.message.pk))
        path = path.replace("{configuration_id}", str(self.configuration.pk))
        path = path.replace("{command_id}", str(self.command.pk))
        path = path.replace("{bulk_id}", str(self.bulk.pk))
        path = path.replace("{screenshot_id}", str(self.screenshot.pk))
        path = path.replace("{product_id}", str(self.product.pk))
        path = path.replace("{package_id}", str(self.package.pk))
        path = path.replace("{rollout_id}", str(self.rollout.pk))
        path = path.replace("{number}", "1")
        path = path.replace("{key}", "our_preference")
        public = {address for _, address in PUBLIC}
        assert "{" not in path or path in public, f"What stands in {path}?"
        return path

    def body(self) -> dict[str, Any]:
        """Our ids and identifiers wherever a body could name them."""
        return {
            "id": str(self.device.pk),
            "device": str(self.device.pk),
            "device_id": str(self.device.pk),
            "tenant": str(self.tenant.pk),
            "tenant_id": str(self.tenant.pk),
            "serial_number": "OUR-SERIAL",
            "name": "taken",
            "allow": True,
            "reason": "keyCompromise",
            "certificate": self.certificate.pem,
            "threshold": 1,
            "text": "taken",
            "assignee": None,
            "scope": "device",
            "document": {"volume": 99},
            "tags": [],
            "key": "taken",
            "kind": "boolean",
            "default": True,
            "type": "reboot",
            "status": "failed",
            "filter": {},
            "blast_radius": 1,
            "approval_above": 1,
            "product": self.product.name,
            "version": "7.7.8",
            "package": str(self.package.pk),
            "attempt": 1,
            "settings": {"our_preference": {"version": 0, "value": False}},
        }


@pytest.fixture
def ours() -> Ours:
    tenant = TenantFactory.create(name="The Tenant That Is Ours")
    device = DeviceFactory.create(tenant=tenant, name="The Device That Is Ours")
    DeviceIdentifierFactory.create(device=device, value="OUR-SERIAL")
    certificate = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )
    rule = RuleFactory.create(tenant=tenant, name="The Rule That Is Ours")
    override = RuleOverride.every_tenant.create(
        tenant=tenant, rule=rule, device=device, threshold=5
    )
    alert = AlertFactory.create(
        tenant=tenant, rule=rule, device=device, title="The Alert That Is Ours"
    )
    channel = ChannelFactory.create(tenant=tenant, name="The Channel That Is Ours")
    now = datetime.now(UTC)
    message = ChannelDelivery.every_tenant.create(
        tenant=tenant,
        channel=channel,
        event_id=1,
        name="ours.alone",
        created_at=now,
        due_at=now,
        delivered_at=now,
    )
    configuration = for_device(
        device, {"extra": {"ours": "The Text That Is Ours"}}, now=now
    )
    with tenant_scope(tenant.pk):
        definitions.define(
            key="our_preference",
            label="The Preference That Is Ours",
            kind="boolean",
            default=True,
            now=now,
        )
    by = User.objects.create_user("ours@example.com")
    product, package, rollout, update = in_a_rollout(device, now, by=by)
    return Ours(
        *(tenant, device, certificate, rule, override, alert, channel, message),
        configuration,
        *remote_controlled(device, now, by=by),
        product=product,
        package=package,
        rollout=rollout,
        update=update,
    )


def api_token(role: Role, tenant: Tenant | None = None) -> tuple[ApiToken, str]:
    membership = MembershipFactory.create(
        tenant=tenant or TenantFactory.create(), role=role
    )
    return issue_api_token(membership=membership, name="t", now=datetime.now(UTC))


def enrollment(tenant: Tenant) -> tuple[EnrollmentToken, str]:
    with tenant_scope(tenant.pk):
        return create_enrollment_token(name="t", now=datetime.now(UTC))


def device_token(device: Device) -> str:
    with tenant_scope(device.tenant_id):
        return renew_device_token(device, now=datetime.now(UTC))


def nobody(ours: Ours) -> Iterator[tuple[str, str]]:
    """Credentials that open no door at all, not even where they were good once."""
    yield "none", ""
    for prefix in ("usr_", "enr_", "dev_", "xyz_"):
        yield f"unknown {prefix}", f"Bearer {tokens.make(prefix)}"
    now = datetime.now(UTC)
    for row, token in (api_token(Role.OWNER, ours.tenant), enrollment(ours.tenant)):
        revoke_token(row, now=now)
        yield f"revoked {row.prefix}", f"Bearer {token}"
    for row, token in (api_token(Role.OWNER, ours.tenant), enrollment(ours.tenant)):
        past = now - timedelta(seconds=1)
        type(row).every_tenant.filter(pk=row.pk).update(expires_at=past)
        yield f"expired {row.prefix}", f"Bearer {token}"
    void = device_token(ours.device)
    device_token(ours.device)
    yield "replaced dev_", f"Bearer {void}"
    yield "another scheme", f"Basic {api_token(Role.OWNER, ours.tenant)[1]}"


def knock(ours: Ours, door: Door, credential: str, query: str = "") -> Any:
    client = APIClient()
    if credential:
        client.credentials(HTTP_AUTHORIZATION=credential)
    method, path = door
    said = {
        name: value for name, value in ours.body().items() if name in fields_of(door)
    }
    body = None if method in ("get", "delete") else said
    if path.startswith("/.well-known/est/") and method == "post":
        request = ours.body()["certificate"]
        return client.generic("POST", path, request, "application/pkcs10")
    return getattr(client, method)(ours.address(path) + query, body)


def assert_nothing_of_ours(ours: Ours, answer: Any, door: Door, who: str) -> None:
    said = answer.content.decode()
    sent = {value for value in ours.body().values() if isinstance(value, str)}
    for word in ours.words() - sent:
        assert word not in said, (door, who, word)


def assert_untouched(ours: Ours) -> None:
    ours.device.refresh_from_db()
    ours.certificate.refresh_from_db()
    assert ours.device.name == "The Device That Is Ours"
    assert ours.device.status == "offline"
    assert ours.device.tenant == ours.tenant
    assert ours.certificate.status == "active"
    ours.rule.refresh_from_db()
    ours.alert.refresh_from_db()
    assert (ours.rule.name, ours.rule.threshold) == ("The Rule That Is Ours", 90)
    ours.override.refresh_from_db()
    assert ours.override.threshold == 5
    assert ours.alert.status == "open"
    ours.channel.refresh_from_db()
    ours.message.refresh_from_db()
    assert (ours.channel.name, ours.channel.secret) == ("The Channel That Is Ours", "")
    assert ours.message.state == "delivered"
    ours.configuration.refresh_from_db()
    assert ours.configuration.number == 1
    assert PreferenceDefinition.every_tenant.filter(tenant=ours.tenant).count() == 1
    assert not DeviceSettings.every_tenant.exists()
    ours.command.refresh_from_db()
    ours.bulk.refresh_from_db()
    assert (ours.command.status, ours.bulk.state) == ("queued", "waiting")
    assert CommandHistory.every_tenant.filter(tenant=ours.tenant).count() == 1
    for row in (ours.product, ours.package, ours.rollout, ours.update):
        row.refresh_from_db()
    assert (ours.product.name, ours.package.state) == ("Ours Unmistakably", "draft")
    assert (ours.rollout.state, ours.update.status) == ("draft", "pending")
    assert SoftwareUpdate.every_tenant.count() == 1
    assert Deployment.every_tenant.count() == 1
    assert not RemoteControlSession.every_tenant.filter(tenant=ours.tenant).exists()
    assert not AlertComment.every_tenant.exists()
    assert DeviceCertificate.objects.of_device(ours.device.pk).count() == 1


def test_the_document_has_doors_and_the_lists_here_are_of_them() -> None:
    assert len(DOORS) > 15
    assert set(DOORS) >= PUBLIC | OF_A_DEVICE | OF_A_TENANT


@pytest.mark.parametrize("door", sorted(set(DOORS) - PUBLIC), ids=" ".join)
def test_a_credential_that_is_none_opens_nothing(ours: Ours, door: Door) -> None:
    for who, credential in nobody(ours):
        answer = knock(ours, door, credential)
        assert answer.status_code == 401, (who, answer.content)
        assert_nothing_of_ours(ours, answer, door, who)
    assert_untouched(ours)


@pytest.mark.parametrize("door", sorted(set(DOORS) - PUBLIC), ids=" ".join)
def test_a_strangers_owner_reaches_nothing_of_ours(ours: Ours, door: Door) -> None:
    answer = knock(ours, door, f"Bearer {api_token(Role.OWNER)[1]}")

    if door not in OF_A_TENANT:
        assert answer.status_code in REFUSED, answer.content
    assert_nothing_of_ours(ours, answer, door, "a stranger's owner")
    assert_untouched(ours)


@pytest.mark.parametrize("door", sorted(set(DOORS) - PUBLIC), ids=" ".join)
def test_a_strangers_device_reaches_nothing_of_ours(ours: Ours, door: Door) -> None:
    answer = knock(ours, door, f"Bearer {device_token(DeviceFactory.create())}")

    if door not in OF_A_DEVICE:
        assert answer.status_code in REFUSED, answer.content
    assert_nothing_of_ours(ours, answer, door, "a stranger's device")
    assert_untouched(ours)


@pytest.mark.parametrize("door", sorted(set(DOORS) - PUBLIC), ids=" ".join)
def test_a_strangers_enrollment_token_reaches_nothing_of_ours(
    ours: Ours, door: Door
) -> None:
    answer = knock(ours, door, f"Bearer {enrollment(TenantFactory.create())[1]}")

    if door != ("post", "/devices/auto-register"):
        assert answer.status_code in REFUSED, answer.content
    assert_nothing_of_ours(ours, answer, door, "a stranger's enrollment token")
    assert_untouched(ours)


@pytest.mark.parametrize(
    "door",
    sorted(door for door in set(DOORS) - PUBLIC - OF_A_DEVICE if door[0] != "get"),
    ids=" ".join,
)
def test_a_viewer_changes_nothing(ours: Ours, door: Door) -> None:
    answer = knock(ours, door, f"Bearer {api_token(Role.VIEWER, ours.tenant)[1]}")

    assert answer.status_code == 403, answer.content
    assert_untouched(ours)


@pytest.mark.parametrize("door", [door for door in sorted(DOORS) if "get" in door])
def test_a_filter_with_our_words_finds_nothing_for_a_stranger(
    ours: Ours, door: Door
) -> None:
    token = api_token(Role.OWNER)[1]
    for word in (*ours.words(), str(ours.device.pk)):
        for name in ("search", "tag", "model", "tenant", "id", "device"):
            answer = knock(ours, door, f"Bearer {token}", f"?{name}={word}")
            found = re.findall(re.escape(ours.device.name.encode()), answer.content)
            assert found == [], (door, name, word)
