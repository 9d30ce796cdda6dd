"""Tests of device authentication by a client certificate that a proxy forwards."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as configured
from rest_framework.test import APIClient

from certificates.models import CertificateAuthority, DeviceCertificate
from certificates.pki.issuer import Addresses
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.services import retirement

pytestmark = pytest.mark.django_db
PROXY, OTHER_ADDRESS = "192.0.2.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def trust_proxy(settings: Any) -> None:
    settings.CLIENT_CERTIFICATE_PROXIES = [ip_network(PROXY)]


@pytest.fixture
def row(device: Device) -> DeviceCertificate:
    return issue_certificate(device, datetime.now(UTC))


def tls_client(pem: str, *, address: str = PROXY) -> APIClient:
    """Return a test client whose certificate a proxy with the given IP address forwards."""
    client = APIClient()
    client.credentials(HTTP_X_SSL_CLIENT_CERT=quote(pem), REMOTE_ADDR=address)
    return client


def rejection_detail(response: Any) -> str:
    """Return the error text of a response that rejects the client certificate."""
    assert response.status_code == 401, response.content
    error = response.json()["errors"][0]
    assert error["code"] == "invalid_client_certificate"
    return str(error["detail"])


def test_a_connect_that_names_a_certificate_confirms_it(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    first = issue_certificate(device, datetime.now(UTC))
    second = issue_certificate(device, datetime.now(UTC))
    client = as_device(device)

    for serial_number in ("nonsense", second.serial_number.upper()):
        response = client.post("/devices/connect", {"certificate_serial_number": serial_number})
        assert response.status_code == 200

    first.refresh_from_db()
    second.refresh_from_db()
    assert second.confirmed_at is not None
    assert (first.status, second.status) == ("superseded", "active")


def test_a_client_certificate_identifies_the_device(row: DeviceCertificate, device: Device) -> None:
    client = tls_client(row.pem)

    assert client.get("/devices/me").json()["id"] == str(device.pk)
    assert client.post("/devices/connect", {}).json()["device_id"] == str(device.pk)
    device.refresh_from_db()
    assert device.status == "online"


def test_a_certificate_header_from_another_address_is_ignored(row: DeviceCertificate) -> None:
    response = tls_client(row.pem, address=OTHER_ADDRESS).get("/devices/me")

    assert response.status_code == 401
    assert response.json()["errors"][0]["code"] == "not_authenticated"


def test_no_proxy_is_trusted_by_default(row: DeviceCertificate, settings: Any) -> None:
    settings.CLIENT_CERTIFICATE_PROXIES = []

    assert tls_client(row.pem, address="127.0.0.1").get("/devices/me").status_code == 401


def test_a_proxy_trusted_for_other_headers_is_not_trusted_for_certificates(
    row: DeviceCertificate, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = [ip_network(OTHER_ADDRESS)]

    assert tls_client(row.pem, address=OTHER_ADDRESS).get("/devices/me").status_code == 401


def test_a_revoked_certificate_is_rejected_at_once(row: DeviceCertificate) -> None:
    client = tls_client(row.pem)
    assert client.get("/devices/me").status_code == 200

    revoke_certificate(row, datetime.now(UTC))

    assert "revoked" in rejection_detail(client.get("/devices/me"))


def test_an_expired_certificate_is_rejected(device: Device) -> None:
    issued_at = datetime.now(UTC) - timedelta(days=configured.DEFAULT_CERT_VALIDITY_DAYS + 1)

    assert "not valid now" in rejection_detail(
        tls_client(issue_certificate(device, issued_at).pem).get("/devices/me")
    )


def test_a_certificate_of_another_ca_is_rejected(device: Device, tmp_path: Any) -> None:
    now = datetime.now(UTC)
    issue_certificate(device, now)
    other_ca = DeviceCertificatesService(tmp_path / "other")
    other_ca.issue_certificate(
        device.pk,
        serial_number=2**70,
        issuer=other_ca.initialize_ca(now=now, key_type="ec"),
        addresses=Addresses("http://x/1.crl", "http://x/ca.cer"),
        key_type="ec",
        now=now,
    )
    pem = other_ca.store.staged_certificate(f"{2**70:x}").read_text()

    assert "was not issued by a CA of this server" in rejection_detail(
        tls_client(pem).get("/devices/me")
    )


def test_an_unrecorded_certificate_is_rejected(row: DeviceCertificate) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(fingerprint="0" * 64)

    assert "not on record" in rejection_detail(tls_client(row.pem).get("/devices/me"))


@pytest.mark.parametrize("status", ["pending", "failed", "expired"])
def test_a_certificate_that_is_not_accepted_is_rejected(
    row: DeviceCertificate, status: str
) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(status=status)

    assert status in rejection_detail(tls_client(row.pem).get("/devices/me"))


def test_a_certificate_of_a_retired_ca_is_rejected(row: DeviceCertificate) -> None:
    CertificateAuthority.objects.update(status="retired")

    assert "was not issued by a CA of this server" in rejection_detail(
        tls_client(row.pem).get("/devices/me")
    )


def test_a_certificate_of_a_retired_device_is_rejected(
    row: DeviceCertificate, device: Device
) -> None:
    retirement.retire(device=device, now=datetime.now(UTC))

    assert tls_client(row.pem).get("/devices/me").status_code == 401


@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE-----", "%00", "A" * 20_000])
def test_an_unreadable_certificate_is_rejected(row: DeviceCertificate, text: str) -> None:
    assert rejection_detail(tls_client(text).get("/devices/me"))


def test_a_client_certificate_grants_no_access_to_member_endpoints(row: DeviceCertificate) -> None:
    client = tls_client(row.pem)

    for path in ("/devices", f"/certificates/{row.serial_number}"):
        assert client.get(path).status_code == 403


def test_a_quarantined_device_can_connect_and_nothing_else(
    row: DeviceCertificate, device: Device
) -> None:
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=datetime.now(UTC))
    client = tls_client(row.pem)

    assert client.post("/devices/connect", {}).json()["quarantined"] is True
    assert client.get("/devices/me").status_code == 403


def test_a_bearer_token_takes_precedence_over_a_client_certificate(
    row: DeviceCertificate, member: Callable[..., APIClient]
) -> None:
    response = member().get("/devices", HTTP_X_SSL_CLIENT_CERT=quote(row.pem), REMOTE_ADDR=PROXY)

    assert response.status_code == 200


def test_the_first_use_of_a_new_certificate_supersedes_the_old_one(row: DeviceCertificate) -> None:
    renewed_row = CertificateManagementService().renew_certificate(row, now=datetime.now(UTC))
    assert tls_client(row.pem).get("/devices/me").status_code == 200
    row.refresh_from_db()
    assert row.status == "active"

    assert tls_client(renewed_row.pem).get("/devices/me").status_code == 200

    row.refresh_from_db()
    renewed_row.refresh_from_db()
    assert row.status == "superseded"
    assert renewed_row.confirmed_at is not None
