"""Access control of every portal page: signed out, other tenants, viewers.

The pages come from the URL configuration, so new pages and models are tested
automatically. A page with an unknown URL parameter makes the tests fail.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Invitation, SignInProvider
from accounts.services import invitations
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
from devices.bulk.models import BulkOperation
from devices.bulk.services import operations as bulk_operations
from devices.configurations.models import DeviceConfiguration
from devices.configurations.tests.documents import save_for_device
from devices.hawkbit.models import GatewayToken, HawkbitSettings
from devices.hawkbit.services import settings as hawkbit_settings
from devices.hawkbit.services.gateway_tokens import create_gateway_token
from devices.imports.models import DeviceImport
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import windows
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.preferences.models import PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from devices.registry.models import (
    AttributeDefinition,
    Device,
    EnrollmentToken,
    IdentifierConflict,
    Site,
    UnreadableField,
)
from devices.registry.services import attributes
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.factories import (
    DeviceFactory,
    DeviceIdentifierFactory,
    IdentifierConflictFactory,
    SiteFactory,
    TagFactory,
    UnreadableFieldFactory,
)
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlPolicy,
    RemoteControlSession,
)
from devices.remote_control.services import policies
from devices.remote_control.tests.remote_control import create_remote_control_rows
from devices.updates.models import (
    Deployment,
    SoftwareProduct,
    SoftwareUpdate,
    UpdatePolicy,
    UpdateStatus,
)
from devices.updates.services import policies as update_policies
from devices.updates.tests.rollouts import create_rollout_rows
from events.models import Channel, ChannelDelivery, Delivery, Event
from events.tests.factories import ChannelFactory
from tenants import saved_views
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, SavedView, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PERSONAL = {  # pages that only show the signed-in user's own data
    "index",
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
    "search",
    "autocomplete",
    "choose-tenant",
    "app_list",
    "pair",
    "second-factor",
    "set-up-second-factor",
    "live",
    "own_settings",
    "single_sign_on",
    "single_sign_on_callback",
    "sessions",
    "find",
    "suggest",
    "screens",
    "site_map",
}
WITH_A_LINK = {
    "invitation",
    "admin_password_reset",
    "password_reset_confirm",
    "single_sign_on",
    "single_sign_on_callback",
    "logo",
}  # no sign-in
PERSONAL |= WITH_A_LINK
NAME = "Ours Unmistakably"  # also used by `create_rollout_rows`
PROTECTED_VALUES = (
    NAME,
    "PROTECTED-SERIAL",
    "protected-serial",
    "protected-tag",
    "protected-site",
    "protected@example.com",
)


def pages(resolver: URLResolver, prefix: str = "/") -> Iterator[tuple[str, str]]:
    """Yield the pattern and the name of every URL under the portal."""
    for pattern in resolver.url_patterns:
        url = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if url.startswith("/admin/"):
                yield from pages(pattern, url)
        elif isinstance(pattern, URLPattern) and url.startswith("/admin/"):
            yield url, str(pattern.name)


PAGES = sorted(set(pages(get_resolver())))
FORM_DATA = {"post": "yes", "confirmed": "yes", "name": "changed", "role": "viewer"}


@pytest.fixture(scope="module")
def protected(module_transaction: None) -> dict[str, Any]:
    """Create and return a row of each model that the portal shows, by `app.model`."""
    now = datetime.now(UTC)
    tenant = TenantFactory.create(name=NAME)
    user = User.objects.create_user("protected@example.com", "x")
    membership = MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    site = SiteFactory.create(tenant=tenant, name="protected-site")
    device = DeviceFactory.create(tenant=tenant, name=NAME, site=site)
    DeviceIdentifierFactory.create(device=device, written="PROTECTED-SERIAL")
    conflict = IdentifierConflictFactory.create(holder=device, value="protected-serial")
    unreadable = UnreadableFieldFactory.create(device=device, field="protected_field")
    TagFactory.create(tenant=tenant, name="protected-tag")
    with tenant_scope(tenant.pk):
        enrollment, _ = create_enrollment_token(name=NAME, now=now)
        token, _ = issue_api_token(membership=membership, name=NAME, now=now)
        invitation = invitations.invite(
            email="invited.protected@example.com",
            role=Role.VIEWER,
            by=user,
            by_role=Role.OWNER,
            now=now,
        ).invitation
    certificate = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )
    event = Event.every_tenant.filter(tenant=tenant).first()
    assert event is not None
    delivery = Delivery.objects.create(event=event, listener="unknown", due_at=now)
    authority = CertificateAuthority.objects.get()
    campaign = RenewalCampaign.objects.create(
        tenant=tenant, reason=NAME, per_minute=1, started_at=now
    )
    inspection = Inspection.objects.create(started_at=now)
    drift = Drift.objects.create(
        certificate=certificate, kind=NAME, sentence=NAME, found_at=now, seen_at=now
    )
    rule = RuleFactory.create(tenant=tenant, name=NAME)
    override = RuleOverride.every_tenant.create(
        tenant=tenant, rule=rule, device=device, threshold=5
    )
    alert = AlertFactory.create(tenant=tenant, rule=rule, device=device, title=NAME)
    with tenant_scope(tenant.pk):
        provider = SignInProvider.objects.create(
            issuer=f"https://{NAME}", client_id=NAME, client_secret="", domains=["example.com"]
        )
        saved_views.save(
            user=user,
            is_shared=True,
            model="devices.device",
            name=NAME,
            query="",
            columns=(),
            now=now,
        )
        attribute = attributes.define(key="protected", label=NAME, kind="text", now=now)
        window = windows.create(name=NAME, starts_at=now, ends_at=now + timedelta(hours=1), now=now)
    channel = ChannelFactory.create(tenant=tenant, name=NAME)
    message = ChannelDelivery.every_tenant.create(
        tenant=tenant, channel=channel, event_id=event.pk, name=NAME, created_at=now, due_at=now
    )
    configuration = save_for_device(device, {"extra": {"text": NAME}}, now=now)
    with tenant_scope(tenant.pk):
        preference = definitions.define(
            key="protected", label=NAME, kind="boolean", default=True, now=now
        )
    platform_preference = definitions.define_for_platform(
        key="shared", label="Shared", kind="boolean", default=True, now=now
    )
    with tenant_scope(tenant.pk):
        policy = policies.change(blast_radius=7, now=now)
        session = RemoteControlSession.objects.create(
            device=device, controller=user, started_at=now, last_used_at=now
        )
        update_policy = update_policies.change(approval_above=7, now=now)
        hawkbit = hawkbit_settings.change(polling_seconds=77, now=now)
        gateway, _ = create_gateway_token(name=NAME, now=now)
        bulk_operation = bulk_operations.start(
            action="add_tags", parameters={"tags": ["protected-tag"]}, filter={}, by=user, now=now
        )
        device_import = DeviceImport.objects.create(
            file_name=NAME, state="columns", requested_at=now, worked_at=now
        )
    command, bulk, _ = create_remote_control_rows(device, now, by=user)
    product, package, rollout, status = create_rollout_rows(device, now, by=user)
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
        HawkbitSettings._meta.label_lower: hawkbit,
        GatewayToken._meta.label_lower: gateway,
        DeviceImport._meta.label_lower: device_import,
        BulkOperation._meta.label_lower: bulk_operation,
        DeviceConfiguration._meta.label_lower: configuration,
        PreferenceDefinition._meta.label_lower: preference,
        PlatformPreference._meta.label_lower: platform_preference,
        MonitoringRule._meta.label_lower: rule,
        RuleOverride._meta.label_lower: override,
        MaintenanceWindow._meta.label_lower: window,
        Alert._meta.label_lower: alert,
        Channel._meta.label_lower: channel,
        ChannelDelivery._meta.label_lower: message,
        Tenant._meta.label_lower: tenant,
        User._meta.label_lower: user,
        Membership._meta.label_lower: membership,
        ApiToken._meta.label_lower: token,
        Invitation._meta.label_lower: invitation,
        SignInProvider._meta.label_lower: provider,
        Device._meta.label_lower: device,
        Site._meta.label_lower: site,
        AttributeDefinition._meta.label_lower: attribute,
        EnrollmentToken._meta.label_lower: enrollment,
        IdentifierConflict._meta.label_lower: conflict,
        UnreadableField._meta.label_lower: unreadable,
        DeviceCertificate._meta.label_lower: certificate,
        Event._meta.label_lower: event,
        Delivery._meta.label_lower: delivery,
        CertificateAuthority._meta.label_lower: authority,
        RenewalCampaign._meta.label_lower: campaign,
        Inspection._meta.label_lower: inspection,
        Drift._meta.label_lower: drift,
    }


def shown_id(row: Any) -> str:
    """Return the id of a row in the addresses and check boxes of pages."""
    return str(getattr(row, "public_id", row.pk))


def url_for(pattern: str, protected: dict[str, Any]) -> str:
    """Return the URL of a pattern with the ids of the protected rows."""
    match = re.match(r"/admin/(\w+)/(\w+)/", pattern)
    if match is not None and "<path:object_id>" in pattern:
        row = protected.get(f"{match[1]}.{match[2]}")
        shared = match[1] == "django_celery_beat"
        assert row is not None or shared, f"No protected row for {pattern}"
        pattern = pattern.replace("<path:object_id>", shown_id(row) if row else "1")
    pattern = pattern.replace("<uuid:tenant_id>", str(protected["tenants.tenant"].pk))
    device_id = str(protected["devices.device"].pk)
    pattern = pattern.replace("<str:scope>/<str:subject_id>", f"device/{device_id}")
    pattern = pattern.replace("<uuid:device_id>", device_id)
    bulk_id = str(protected["remote_control.bulkcommand"].pk)
    pattern = pattern.replace("<uuid:bulk_id>", bulk_id)
    for model, name in (("softwareupdate", "package_id"), ("deployment", "rollout_id")):
        row_id = str(protected[f"updates.{model}"].pk)
        pattern = pattern.replace(f"<uuid:{name}>", row_id)
    operation_id = str(protected["bulk.bulkoperation"].pk)
    pattern = pattern.replace("<uuid:operation_id>", operation_id)
    tenant = protected["bulk.bulkoperation"].tenant.slug
    pattern = pattern.replace("<slug:tenant>/<slug:action>", f"{tenant}/retire")
    view_id = str(SavedView.every_tenant.get(name=NAME).pk)
    pattern = pattern.replace("<uuid:view_id>", view_id)
    import_id = str(protected["imports.deviceimport"].pk)
    pattern = pattern.replace("<uuid:import_id>", import_id)
    certificate_id = str(protected["certificates.devicecertificate"].pk)
    pattern = pattern.replace("<uuid:certificate_id>/<slug:form>", f"{certificate_id}/pem")
    screenshot_id = str(protected["remote_control.commandhistory"].screenshot.pk)
    pattern = pattern.replace("<uuid:screenshot_id>", screenshot_id)
    pattern = pattern.replace("<int:number>", "1")
    pattern = pattern.replace("<slug:slug>", "invented")
    pattern = pattern.replace("<slug:token>", "invented").replace("<uidb64>/<token>", "MQ/x-y")
    pattern = re.sub(r"\^\(\?P<app_label>(\w+)\|.*", r"\1/", pattern)
    pattern = pattern.replace("(?P<url>.*)$", "no/such/page")
    assert "<" not in pattern, f"Unknown parameter in {pattern}"
    return pattern


def content_of(response: Any) -> str:
    """Return the text of a page or of an export."""
    if response.streaming:
        content = b"".join(response.streaming_content)
        if (file := getattr(response, "file_to_stream", None)) is not None:
            file.close()
        return content.decode(errors="replace")
    return str(response.content.decode())


def sign_in(role: Role, tenant: Tenant | None = None) -> Client:
    """Return a client that is signed in as a member of `tenant`, by default another tenant."""
    client = Client()
    if tenant is None:
        tenant = TenantFactory.create(name="Another tenant")
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


def snapshot(protected: dict[str, Any]) -> list[Any]:
    return [type(row)._base_manager.filter(pk=row.pk).values().get() for row in protected.values()]


def assert_no_protected_data(response: Any, page: str) -> None:
    content = content_of(response)
    for value in PROTECTED_VALUES:
        assert value not in content, (page, value)


def test_each_model_of_the_portal_has_a_protected_row(protected: dict[str, Any]) -> None:
    models = {
        model._meta.label_lower
        for model in admin.site._registry
        if model._meta.app_label != "django_celery_beat"
    }
    assert len(PAGES) > 80
    assert models == set(protected)


def test_every_page_redirects_signed_out_users_to_the_sign_in(protected: dict[str, Any]) -> None:
    before = snapshot(protected)
    for pattern, name in PAGES:
        if name in {"login", "logout", "jsi18n"} | WITH_A_LINK:
            continue
        url = url_for(pattern, protected)
        for response in (Client().get(url), Client().post(url, {"post": "yes"})):
            assert response.status_code in {301, 302}, url
            assert response["Location"].startswith("/admin/"), url
            assert_no_protected_data(response, url)
    assert snapshot(protected) == before


@pytest.mark.parametrize("role", [Role.OWNER, Role.VIEWER])
def test_members_of_another_tenant_see_and_change_nothing(
    protected: dict[str, Any], role: Role
) -> None:
    client, before = sign_in(role), snapshot(protected)
    for pattern, name in PAGES:
        if name in {"logout", "password_change"}:
            continue
        url = url_for(pattern, protected)
        for response in (client.get(url), client.post(url, FORM_DATA)):
            assert_no_protected_data(response, url)
            if name not in PERSONAL and "object_id" in pattern:
                # Django's admin redirects to the index if an id does not exist.
                rejected = response.status_code in {301, 302, 403, 404}
                assert rejected or _acts_on_no_row(response), url
    assert snapshot(protected) == before


HARMLESS_ACTIONS = {
    "acknowledge_selected",
    "issue_for_selected",
    "renew_for_selected",
    "renew_selected",
    "replay_selected",
    "switch_on",
    "test_selected",
    "try_again",
}


def test_every_action_that_can_do_harm_asks_first(protected: dict[str, Any]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    before, asked = snapshot(protected), 0
    for model, model_admin in admin.site._registry.items():
        row = protected.get(model._meta.label_lower)
        for name in model_admin.actions or ():
            if row is None or name in HARMLESS_ACTIONS:
                continue
            options = f"{model._meta.app_label}_{model._meta.model_name}"
            selection = {"action": name, ACTION_CHECKBOX_NAME: [shown_id(row)]}
            page = client.post(reverse(f"admin:{options}_changelist"), selection)
            assert b'name="confirmed"' in page.content, (model, name)
            asked += 1
    assert asked >= 15
    assert snapshot(protected) == before


@pytest.mark.parametrize("role", [Role.OWNER, Role.VIEWER])
def test_actions_and_searches_of_another_tenant_reach_no_row(
    protected: dict[str, Any], role: Role
) -> None:
    client, before = sign_in(role), snapshot(protected)
    for label, row in protected.items():
        model = type(row)
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for action in admin.site._registry[model].actions or ():
            name = action if isinstance(action, str) else action.__name__
            data = {"action": name, ACTION_CHECKBOX_NAME: [shown_id(row)]}
            for values in ({}, {"confirmed": "yes", "reason": "keyCompromise"}):
                response = client.post(url, {**data, **values})
                assert_no_protected_data(response, f"{label} {name}")
        long_id = [shown_id(row)] if len(shown_id(row)) > 8 else []
        words = (*PROTECTED_VALUES, *long_id) if admin.site._registry[model].search_fields else ()
        searches = [("q", value) for value in words]
        searches += [(name, NAME) for name in ("tag", "name", "model")]
        searches += [(name, value) for name in ("id", "tenant") for value in long_id]
        for parameter, value in searches:
            response = client.get(url, {parameter: value})
            count = content_of(response).count(value)
            assert count <= _echo_count(response, value), (label, parameter, value)
    assert snapshot(protected) == before


def test_a_viewer_changes_nothing(protected: dict[str, Any]) -> None:
    client = sign_in(Role.VIEWER, protected["tenants.tenant"])
    before = snapshot(protected)
    for label, row in protected.items():
        model = type(row)
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for page in ("add/", f"{shown_id(row)}/change/", f"{shown_id(row)}/delete/"):
            response = client.post(f"{url}{page}", FORM_DATA)
            is_own_token = (label, page) == ("tenants.apitoken", "add/")
            assert is_own_token or response.status_code in {302, 403}, (label, page)
        for action in admin.site._registry[model].actions or ():
            name = action if isinstance(action, str) else action.__name__
            selection = {"action": name, ACTION_CHECKBOX_NAME: [shown_id(row)]}
            client.post(url, {**FORM_DATA, **selection})
    assert snapshot(protected) == before


def _acts_on_no_row(response: Any) -> bool:
    """Return True if the page reports 0 processed rows or contains no selected row."""
    is_empty_result = b"0 succeeded" in response.content
    return is_empty_result or b'name="_selected_action"' not in response.content


def _echo_count(response: Any, value: str) -> int:
    """Return how often the page repeats the value as part of the request's input."""
    if response.status_code != 200:
        return 0
    attributes = re.findall(r'(?:value|href|action)="[^"]*"', response.content.decode())
    return sum(attribute.count(value) for attribute in attributes)


def test_an_owner_can_open_every_page_of_the_own_tenant(protected: dict[str, Any]) -> None:
    client = sign_in(Role.OWNER, protected["tenants.tenant"])
    count = 0
    for pattern, _ in PAGES:
        match = re.match(r"/admin/(\w+)/(\w+)/<path:object_id>/(change|\w+-\w+)/", pattern)
        if match is None or client.get(pattern.split("<")[0]).status_code != 200:
            continue  # not a page of one row, or not a page for members
        response = client.get(url_for(pattern, protected), follow=True)
        assert response.status_code == 200, (pattern, response.status_code)
        count += 1
    assert count > 12
