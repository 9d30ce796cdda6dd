"""The weekly report by mail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from events.tests.mail_server import mail_server
from provisioning import tasks
from provisioning.reports import weekly
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Membership, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)


@pytest.fixture
def subscriber(tenant: Tenant) -> Membership:
    membership: Membership = MembershipFactory.create(tenant=tenant, wants_weekly_report=True)
    return membership


def sent(now: datetime) -> int:
    with every_tenant_scope():
        return weekly.send_due(now=now)


def test_a_report_has_the_figures_of_the_tenant(tenant: Tenant) -> None:
    online = DeviceFactory.create(
        tenant=tenant, status="online", last_seen=NOW, registered_at=NOW - DAY
    )
    DeviceFactory.create(tenant=tenant, name="Lobby", last_seen=NOW - 3 * DAY)
    DeviceFactory.create(tenant=tenant)
    rule = RuleFactory.create(tenant=tenant, name="CPU")
    AlertFactory.create(tenant=tenant, rule=rule, device=online, opened_at=NOW - DAY)
    AlertFactory.create(
        tenant=tenant,
        rule=rule,
        device=online,
        opened_at=NOW - 8 * DAY,
        closed_at=NOW - 8 * DAY,
        settled_at=NOW - 8 * DAY,
    )
    CertificateManagementService().issue_certificate(
        device=online, csr_pem=request_for(ec_key()), now=NOW - 80 * DAY
    )
    DeviceCertificate.objects.update(not_after=NOW + 10 * DAY)
    other = TenantFactory.create()
    DeviceFactory.create(tenant=other, name="Of another tenant", last_seen=NOW - DAY)

    with tenant_scope(tenant.pk):
        text = weekly.text_of(tenant, weekly.report(now=NOW))

    assert f"{tenant.name}: 3 devices, 1 of them new." in text
    assert "1 online, 1 offline, 1 never connected." in text
    assert "Lobby, since 2026-02-27" in text
    assert "Alerts: 1 opened in this week, 1 open now." in text
    assert "CPU: 1" in text
    assert "Certificates that end within 30 days: 1." in text
    assert "Of another tenant" not in text


def test_members_who_want_it_get_one_mail_a_week(tenant: Tenant, subscriber: Membership) -> None:
    MembershipFactory.create(tenant=tenant)
    with mail_server() as mailbox:
        assert sent(NOW) == 1
        assert sent(NOW + timedelta(hours=1)) == 0
        assert sent(NOW + 7 * DAY) == 1

    assert [subscriber.user.email in text for text in mailbox.texts] == [True, True]


def test_a_refused_address_does_not_keep_the_others_from_their_mail(
    tenant: Tenant, subscriber: Membership
) -> None:
    last = MembershipFactory.create(tenant=tenant, wants_weekly_report=True)
    with mail_server() as mailbox:
        mailbox.refused.add(subscriber.user.email)
        assert sent(NOW) == 1
        assert sent(NOW + timedelta(hours=1)) == 0

    assert [last.user.email in text for text in mailbox.texts] == [True]


def test_members_of_suspended_tenants_get_none(tenant: Tenant, subscriber: Membership) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(suspended_at=NOW)
    with mail_server():
        assert sent(NOW) == 0


def test_without_a_mail_server_nothing_is_marked_as_sent(
    subscriber: Membership, settings: Any
) -> None:
    settings.EMAIL_HOST = ""

    assert sent(NOW) == 0
    subscriber.refresh_from_db()
    assert subscriber.report_sent_at is None


def test_a_member_subscribes_for_one_tenant(tenant: Tenant, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    membership = MembershipFactory.create(tenant=tenant)
    other = MembershipFactory.create(user=membership.user)
    client = Client()
    client.force_login(membership.user)
    page = f"/t/{tenant.slug}/admin/account/"

    client.post(page, {"name": "Ada", "time_zone": "", "wants_report": "on"})

    membership.refresh_from_db()
    other.refresh_from_db()
    assert (membership.wants_weekly_report, other.wants_weekly_report) == (True, False)
    assert "Weekly report" in client.get(page).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_worker_sends_the_reports(subscriber: Membership, request: pytest.FixtureRequest) -> None:
    with mail_server() as mailbox:
        request.getfixturevalue("celery_worker")
        tasks.send_weekly_reports.delay()
        wait_until(lambda: len(mailbox.texts) == 1)
