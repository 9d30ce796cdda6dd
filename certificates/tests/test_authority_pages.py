"""Tests of the operator's admin pages for CAs, campaigns and integrity findings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client

from certificates.models import CertificateAuthority, Drift, RenewalCampaign
from certificates.services import ocsp_responses, revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.models import Device
from tenants.models import Role, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
PAGES = "/admin/certificates"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


def start_campaign(operator: Client, **fields: Any) -> Any:
    form = {"reason": "incident", "per_minute": "5", "tenant": "", "model": "", **fields}
    return operator.post(f"{PAGES}/renewalcampaign/add/", form)


def test_the_ca_page_shows_its_revocation_lists_and_no_private_key(
    operator: Client, device: Device
) -> None:
    now = datetime.now(UTC)
    row = issue_certificate(device, now)
    revoke_certificate(row, now)
    ca = DeviceCertificatesService()
    revocation_lists.rebuild_due(ca, now=now)
    ocsp_responses.renew_responders(ca, now=now)
    authority = CertificateAuthority.objects.get()

    list_page = operator.get(f"{PAGES}/certificateauthority/").content.decode()
    page = operator.get(f"{PAGES}/certificateauthority/{authority.pk}/change/").content.decode()

    assert "No. 1, 1 entries" in list_page
    assert authority.key_identifier in page
    assert f"/certificates/crl/{row.distribution_point_id}.crl" in page
    assert "PRIVATE" not in page


def test_a_renewal_campaign_is_started_listed_and_stopped(operator: Client, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC) - timedelta(days=1))

    assert start_campaign(operator).status_code == 302
    campaign = RenewalCampaign.objects.get()
    page = operator.get(f"{PAGES}/renewalcampaign/").content.decode()
    assert "incident" in page
    assert "0 of 1" in page
    form = {"action": "stop_selected", "confirmed": "yes", ACTION_CHECKBOX_NAME: [str(campaign.pk)]}
    operator.post(f"{PAGES}/renewalcampaign/", form)

    campaign.refresh_from_db()
    assert campaign.stopped


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"per_minute": "0"}, "greater than or equal to 1"),
        ({"reason": ""}, "required"),
        ({"model": "none such"}, "No certificate in use matches this scope"),
    ],
)
def test_an_invalid_campaign_form_shows_its_errors_and_starts_nothing(
    operator: Client, device: Device, fields: dict[str, str], expected: str
) -> None:
    issue_certificate(device, datetime.now(UTC) - timedelta(days=1))

    response = start_campaign(operator, **fields)

    assert response.status_code == 200
    assert expected in response.content.decode()
    assert not RenewalCampaign.objects.exists()


def test_a_certificate_page_shows_its_integrity_findings(operator: Client, device: Device) -> None:
    row, now = issue_certificate(device, datetime.now(UTC)), datetime.now(UTC)
    url = f"{PAGES}/devicecertificate/{row.pk}/change/"
    assert "No findings" in operator.get(url).content.decode()

    Drift.objects.create(
        certificate=row,
        kind="record_differs",
        sentence="The end of validity in the record differs from the certificate.",
        found_at=now,
        seen_at=now,
    )

    assert "end of validity in the record differs" in operator.get(url).content.decode()


def test_a_tenant_owner_cannot_open_operator_pages(device: Device) -> None:
    client = Client()
    member = MembershipFactory.create(tenant=device.tenant, role=Role.OWNER)
    client.force_login(member.user)

    for page in ("certificateauthority", "renewalcampaign", "inspection", "drift"):
        assert client.get(f"{PAGES}/{page}/").status_code == 403, page
    assert start_campaign(client).status_code == 403
