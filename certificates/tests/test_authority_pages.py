"""The operator's pages of the authority."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client

from certificates.models import CertificateAuthority, Drift, RenewalCampaign
from certificates.services import ocsp_responses, revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.issued import issued, revoked
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


def begun(operator: Client, **said: Any) -> Any:
    form = {"reason": "incident", "per_minute": "5", "tenant": "", "model": "", **said}
    return operator.post(f"{PAGES}/renewalcampaign/add/", form)


def test_the_authoritys_page_shows_its_lists_and_its_responder(
    operator: Client, device: Device
) -> None:
    now = datetime.now(UTC)
    row = issued(device, now)
    revoked(row, now)
    ca = DeviceCertificatesService()
    revocation_lists.rebuild_due(ca, now=now)
    ocsp_responses.renew_responders(ca, now=now)
    authority = CertificateAuthority.objects.get()

    listed = operator.get(f"{PAGES}/certificateauthority/").content.decode()
    page = operator.get(
        f"{PAGES}/certificateauthority/{authority.pk}/change/"
    ).content.decode()

    assert "no. 1, 1 entries" in listed
    assert authority.key_identifier in page
    assert f"/certificates/crl/{row.distribution_point_id}.crl" in page
    assert "PRIVATE" not in page


def test_renewals_are_pulled_forward_watched_and_stopped(
    operator: Client, device: Device
) -> None:
    issued(device, datetime.now(UTC) - timedelta(days=1))

    assert begun(operator).status_code == 302
    campaign = RenewalCampaign.objects.get()
    page = operator.get(f"{PAGES}/renewalcampaign/").content.decode()
    assert "incident" in page
    assert "0 of 1" in page
    chosen = {"action": "stop_selected", ACTION_CHECKBOX_NAME: [str(campaign.pk)]}
    operator.post(f"{PAGES}/renewalcampaign/", chosen)

    campaign.refresh_from_db()
    assert campaign.stopped


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"per_minute": "0"}, "greater than or equal to 1"),
        ({"reason": ""}, "required"),
        ({"model": "none such"}, "No certificate in use is in this scope"),
    ],
)
def test_what_cannot_be_begun_is_said_and_nothing_typed_is_lost(
    operator: Client, device: Device, said: dict[str, str], expected: str
) -> None:
    issued(device, datetime.now(UTC) - timedelta(days=1))

    answer = begun(operator, **said)

    assert answer.status_code == 200
    assert expected in answer.content.decode()
    assert not RenewalCampaign.objects.exists()


def test_a_certificates_page_says_what_the_audit_found(
    operator: Client, device: Device
) -> None:
    row, now = issued(device, datetime.now(UTC)), datetime.now(UTC)
    address = f"{PAGES}/devicecertificate/{row.pk}/change/"
    assert "nothing found" in operator.get(address).content.decode()

    Drift.objects.create(
        certificate=row,
        kind="record_differs",
        sentence="The record's end is not the certificate's.",
        found_at=now,
        seen_at=now,
    )

    assert "end is not the certificate" in operator.get(address).content.decode()


def test_a_tenants_owner_sees_none_of_it(device: Device) -> None:
    client = Client()
    member = MembershipFactory.create(tenant=device.tenant, role=Role.OWNER)
    client.force_login(member.user)

    for page in ("certificateauthority", "renewalcampaign", "inspection", "drift"):
        assert client.get(f"{PAGES}/{page}/").status_code == 403, page
    assert begun(client).status_code == 403
