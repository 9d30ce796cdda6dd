"""Every address of the portal, tried by everybody who must not get there.

A new page or model joins by existing: the addresses come from the URL configuration,
and a page that wants an id of a kind that is not known here fails.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.services.tokens import issue_api_token
from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    Drift,
    Inspection,
    RenewalCampaign,
)
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.configurations.models import DeviceConfiguration
from devices.configurations.tests.documents import for_device
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.preferences.models import PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from devices.registry.models import Device, EnrollmentToken
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.factories import (
    DeviceFactory,
    DeviceIdentifierFactory,
    TagFactory,
)
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlPolicy,
    RemoteControlSession,
)
from devices.remote_control.services import policies
from devices.remote_control.tests.remote_control import remote_controlled
from devices.updates.models import (
    Deployment,
    SoftwareProduct,
    SoftwareUpdate,
    UpdatePolicy,
    UpdateStatus,
)
from devices.updates.services import policies as update_policies
from devices.updates.tests.rollouts import in_a_rollout
from events.models import Channel, ChannelDelivery, Delivery, Event
from events.tests.factories import ChannelFactory
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PERSONAL = {  # pages that show a person nothing but their own
    *("index", "login", "logout", "password_change", "password_change_done"),
    *("jsi18n", "search", "autocomplete", "choose-tenant", "app_list", "pair"),
    *("second-factor", "set-up-second-factor", "live"),
}
OUR_WORDS = ("Ours Unmistakably", "OUR-SERIAL", "our-tag-alone", "ours@example.com")


def pages(resolver: URLResolver, before: str = "/") -> Iterator[tuple[str, str]]:
    """Every address under the portal as a pattern, with its name."""
    for pattern in resolver.url_patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if address.startswith("/admin/"):
                yield from pages(pattern, address)
        elif isinstance(pattern, URLPattern) and address.startswith("/admin/"):
            yield address, str(pattern.name)


PAGES = sorted(set(pages(get_resolver())))


@pytest.fixture
def ours() -> dict[str, Any]:
    """A row of each model that the portal shows, by `app/model`."""
    now = datetime.now(UTC)
    tenant = TenantFactory.create(name="Ours Unmistakably")
    user = User.objects.create_user("ours@example.com", "x")
    membership = MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    device = DeviceFactory.create(tenant=tenant, name="Ours Unmistakably")
    DeviceIdentifierFactory.create(device=device, value="OUR-SERIAL")
    TagFactory.create(tenant=tenant, name="our-tag-alone")
    with tenant_scope(tenant.pk):
        enrollment, _ = create_enrollment_token(name="Ours Unmistakably", now=now)
        token, _ = issue_api_token(
            membership=membership, name="Ours Unmistakably", now=now
        )
    certificate = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )
    event = Event.every_tenant.filter(tenant=tenant).first()
    assert event is not None
    delivery = Delivery.objects.create(event=event, listener="nobody", due_at=now)
    authority = CertificateAuthority.objects.get()
    campaign = RenewalCampaign.objects.create(
        tenant=tenant, reason="Ours Unmistakably", per_minute=1, started_at=now
    )
    inspection = Inspection.objects.create(started_at=now)
    drift = Drift.objects.create(
        certificate=certificate,
        kind="Ours Unmistakably",
        sentence="Ours Unmistakably",
        found_at=now,
        seen_at=now,
    )
    rule = RuleFactory.create(tenant=tenant, name="Ours Unmistakably")
    override = RuleOverride.every_tenant.create(
        tenant=tenant, rule=rule, device=device, threshold=5
    )
    alert = AlertFactory.create(
        tenant=tenant, rule=rule, device=device, title="Ours Unmistakably"
    )
    channel = ChannelFactory.create(tenant=tenant, name="Ours Unmistakably")
    message = ChannelDelivery.every_tenant.create(
        tenant=tenant,
        channel=channel,
        event_id=event.pk,
        name="Ours Unmistakably",
        created_at=now,
        due_at=now,
    )
    configuration = for_device(
        device, {"extra": {"ours": "Ours Unmistakably"}}, now=now
    )
    with tenant_scope(tenant.pk):
        preference = definitions.define(
            key="ours", label="Ours Unmistakably", kind="boolean", default=True, now=now
        )
    platform_preference = definitions.define_for_platform(
        key="of_all", label="Everybody's", kind="boolean", default=True, now=now
    )
    with tenant_scope(tenant.pk):
        policy = policies.change(blast_radius=7, now=now)
        session = RemoteControlSession.objects.create(
            device=device, controller=user, started_at=now, last_used_at=now
        )
        update_policy = update_policies.change(approval_above=7, now=now)
    command, bulk, _ = remote_controlled(device, now, by=user)
    product, package, rollout, status = in_a_rollout(device, now, by=user)
    return {
        RemoteControlPolicy._meta.label_lower: policy,
        RemoteControlSession._meta.label_lower: session,
        CommandHistory._meta.label_lower: command,
        BulkCommand._meta.label_lower: bulk,
        SoftwareProduct._meta.label_lower: product,
        SoftwareUpdate._meta.label_lower: package,
        Deployment._meta.label_lower: rollout,
        UpdateStatus._meta.label_lower: status,
        UpdatePolicy._meta.label_lower: update_policy,
        DeviceConfiguration._meta.label_lower: configuration,
        PreferenceDefinition._meta.label_lower: preference,
        PlatformPreference._meta.label_lower: platform_preference,
        MonitoringRule._meta.label_lower: rule,
        RuleOverride._meta.label_lower: override,
        Alert._meta.label_lower: alert,
        Channel._meta.label_lower: channel,
        ChannelDelivery._meta.label_lower: message,
        Tenant._meta.label_lower: tenant,
        User._meta.label_lower: user,
        Membership._meta.label_lower: membership,
        ApiToken._meta.label_lower: token,
        Device._meta.label_lower: device,
        EnrollmentToken._meta.label_lower: enrollment,
        DeviceCertificate._meta.label_lower: certificate,
        Event._meta.label_lower: event,
        Delivery._meta.label_lower: delivery,
        CertificateAuthority._meta.label_lower: authority,
        RenewalCampaign._meta.label_lower: campaign,
        Inspection._meta.label_lower: inspection,
        Drift._meta.label_lower: drift,
    }


def address_of(pattern: str, ours: dict[str, Any]) -> str:
    """The pattern with ids of ours in it."""
    place = re.match(r"/admin/(\w+)/(\w+)/", pattern)
    if place is not None and "<path:object_id>" in pattern:
        row = ours.get(f"{place[1]}.{place[2]}")
        shared = place[1] == "django_celery_beat"
        assert row is not None or shared, f"Which row of ours is {pattern} about?"
        pattern = pattern.replace("<path:object_id>", str(row.pk if row else 1))
    pattern = pattern.replace("<uuid:tenant_id>", str(ours["tenants.tenant"].pk))
    device_id = str(ours["devices.device"].pk)
    pattern = pattern.replace("<str:scope>/<str:subject_id>", f"device/{device_id}")
    pattern = pattern.replace("<uuid:device_id>", device_id)
    bulk_id = str(ours["remote_control.bulkcommand"].pk)
    pattern = pattern.replace("<uuid:bulk_id>", bulk_id)
    for model, name in (
        ("softwareupdate", "package_id"),
        ("deployment", "rollout_id"),
    ):
        row_id = str(ours[f"updates.{model}"].pk)
        pattern = pattern.replace(f"<uuid:{name}>", row_id)
    screenshot_id = str(ours["remote_control.commandhistory"].screenshot.pk)
    pattern = pattern.replace("<uuid:screenshot_id>", screenshot_id)
    pattern = pattern.replace("<int:number>", "1")
    pattern = re.sub(r"\^\(\?P<app_label>(\w+)\|.*", r"\1/", pattern)
    pattern = pattern.replace("(?P<url>.*)$", "no/such/page")
    assert "<" not in pattern, f"What stands in {pattern}?"
    return pattern


def enter(role: Role, tenant: Tenant | None = None) -> Client:
    client = Client()
    where = tenant or TenantFactory.create(name="Somebody else's")
    client.force_login(MembershipFactory.create(tenant=where, role=role).user)
    return client


def snapshot(ours: dict[str, Any]) -> list[Any]:
    return [
        type(row)._base_manager.filter(pk=row.pk).values().get()
        for row in ours.values()
    ]


def assert_nothing_of_ours(answer: Any, where: str) -> None:
    said = answer.content.decode()
    for word in OUR_WORDS:
        assert word not in said, (where, word)


def test_there_are_pages_and_each_model_of_the_portal_has_a_row_here(
    ours: dict[str, Any],
) -> None:
    shown = {
        model._meta.label_lower
        for model in admin.site._registry
        if model._meta.app_label != "django_celery_beat"
    }
    assert len(PAGES) > 80
    assert shown == set(ours)


def test_signed_out_every_page_leads_to_the_sign_in(ours: dict[str, Any]) -> None:
    before = snapshot(ours)
    for pattern, name in PAGES:
        if name in {"login", "logout", "jsi18n"}:
            continue
        where = address_of(pattern, ours)
        for answer in (Client().get(where), Client().post(where, {"post": "yes"})):
            assert answer.status_code in {301, 302}, where
            assert answer["Location"].startswith("/admin/"), where
            assert_nothing_of_ours(answer, where)
    assert snapshot(ours) == before


@pytest.mark.parametrize("role", [Role.OWNER, Role.VIEWER])
def test_a_stranger_sees_and_changes_nothing_of_ours(
    ours: dict[str, Any], role: Role
) -> None:
    client, before = enter(role), snapshot(ours)
    for pattern, name in PAGES:
        if name in {"logout", "password_change"}:
            continue
        where = address_of(pattern, ours)
        ids = {"post": "yes", "confirmed": "yes", "name": "taken", "role": "viewer"}
        for answer in (client.get(where), client.post(where, ids)):
            assert_nothing_of_ours(answer, where)
            if name not in PERSONAL and "object_id" in pattern:
                # Django's portal answers an unknown id with a redirect to the index.
                gone = answer.status_code in {301, 302, 403, 404}
                assert gone or b"0 done" in answer.content or _is_empty(answer), where
    assert snapshot(ours) == before


@pytest.mark.parametrize("role", [Role.OWNER, Role.VIEWER])
def test_a_strangers_actions_and_searches_reach_no_row_of_ours(
    ours: dict[str, Any], role: Role
) -> None:
    client, before = enter(role), snapshot(ours)
    for label, row in ours.items():
        model = type(row)
        url = reverse(
            f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        )
        for action in admin.site._registry[model].actions or ():
            name = action if isinstance(action, str) else action.__name__
            said = {"action": name, ACTION_CHECKBOX_NAME: [str(row.pk)]}
            for more in ({}, {"confirmed": "yes", "reason": "keyCompromise"}):
                answer = client.post(url, {**said, **more})
                assert_nothing_of_ours(answer, f"{label} {name}")
        long_id = [str(row.pk)] if len(str(row.pk)) > 8 else []
        for word in (*OUR_WORDS, *long_id):
            for query in ("q", "tag", "name", "model", "id", "pk", "tenant"):
                answer = client.get(url, {query: word})
                found = answer.content.decode().count(word)
                assert found <= _echoes(answer, word), (label, query, word)
    assert snapshot(ours) == before


def test_our_viewer_looks_and_changes_nothing(ours: dict[str, Any]) -> None:
    client, before = enter(Role.VIEWER, ours["tenants.tenant"]), snapshot(ours)
    for label, row in ours.items():
        model = type(row)
        url = reverse(
            f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        )
        said = {"post": "yes", "confirmed": "yes", "name": "taken", "role": "viewer"}
        for page in ("add/", f"{row.pk}/change/", f"{row.pk}/delete/"):
            answer = client.post(f"{url}{page}", said)
            assert answer.status_code in {302, 403}, (label, page)
        for action in admin.site._registry[model].actions or ():
            name = action if isinstance(action, str) else action.__name__
            chosen = {"action": name, ACTION_CHECKBOX_NAME: [str(row.pk)]}
            client.post(url, {**said, **chosen})
    assert snapshot(ours) == before


def _is_empty(answer: Any) -> bool:
    """A page that asks to confirm for no row at all."""
    return b'name="_selected_action"' not in answer.content


def _echoes(answer: Any, word: str) -> int:
    """How often the page only gives back what was typed into its search."""
    if answer.status_code != 200:
        return 0
    typed = re.findall(r'(?:value|href|action)="[^"]*"', answer.content.decode())
    return sum(item.count(word) for item in typed)


def test_our_owner_opens_every_page_of_ours(ours: dict[str, Any]) -> None:
    client = enter(Role.OWNER, ours["tenants.tenant"])
    opened = 0
    for pattern, _ in PAGES:
        place = re.match(
            r"/admin/(\w+)/(\w+)/<path:object_id>/(change|\w+-\w+)/", pattern
        )
        if place is None or client.get(pattern.split("<")[0]).status_code != 200:
            continue  # not a page of a row, or not one of a member's
        answer = client.get(address_of(pattern, ours), follow=True)
        assert answer.status_code == 200, (pattern, answer.status_code)
        opened += 1
    assert opened > 12
