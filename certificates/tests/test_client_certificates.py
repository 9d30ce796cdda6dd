"""A device by its client certificate: the proxy's word is needed, and is not enough."""

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
from certificates.tests.issued import issued, revoked
from devices.registry.models import Device
from devices.registry.services import registration

pytestmark = pytest.mark.django_db
PROXY, STRANGER = "192.0.2.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def proxies(settings: Any) -> None:
    settings.CLIENT_CERTIFICATE_PROXIES = [ip_network(PROXY)]


@pytest.fixture
def row(device: Device) -> DeviceCertificate:
    return issued(device, datetime.now(UTC))


def showing(pem: str, *, peer: str = PROXY) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_X_SSL_CLIENT_CERT=quote(pem), REMOTE_ADDR=peer)
    return client


def why(answer: Any) -> str:
    assert answer.status_code == 401, answer.content
    error = answer.json()["errors"][0]
    assert error["code"] == "invalid_client_certificate"
    return str(error["detail"])


def test_the_device_is_taken_from_its_certificate(
    row: DeviceCertificate, device: Device
) -> None:
    client = showing(row.pem)

    assert client.get("/devices/me").json()["id"] == str(device.pk)
    assert client.post("/devices/connect", {}).json()["device_id"] == str(device.pk)
    device.refresh_from_db()
    assert device.status == "online"


def test_from_anybody_but_the_proxy_it_is_as_if_it_were_not_there(
    row: DeviceCertificate,
) -> None:
    answer = showing(row.pem, peer=STRANGER).get("/devices/me")

    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "not_authenticated"


def test_by_default_no_proxy_is_believed(row: DeviceCertificate, settings: Any) -> None:
    settings.CLIENT_CERTIFICATE_PROXIES = []

    assert showing(row.pem, peer="127.0.0.1").get("/devices/me").status_code == 401


def test_a_proxy_for_other_headers_is_not_believed_this_one(
    row: DeviceCertificate, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = [ip_network(STRANGER)]

    assert showing(row.pem, peer=STRANGER).get("/devices/me").status_code == 401


def test_a_revoked_one_is_refused_at_once(row: DeviceCertificate) -> None:
    client = showing(row.pem)
    assert client.get("/devices/me").status_code == 200

    revoked(row, datetime.now(UTC))

    assert "revoked" in why(client.get("/devices/me"))


def test_an_expired_one_is_refused(device: Device) -> None:
    old = datetime.now(UTC) - timedelta(days=configured.DEFAULT_CERT_VALIDITY_DAYS + 1)

    assert "not valid now" in why(showing(issued(device, old).pem).get("/devices/me"))


def test_one_of_another_authority_is_refused(device: Device, tmp_path: Any) -> None:
    now = datetime.now(UTC)
    issued(device, now)
    other = DeviceCertificatesService(tmp_path / "other")
    other.issue_certificate(
        device.pk,
        serial_number=2**70,
        issuer=other.initialize_ca(now=now, key_type="ec"),
        addresses=Addresses("http://x/1.crl", "http://x/ca.cer"),
        key_type="ec",
        now=now,
    )
    pem = other.store.staged_certificate(f"{2**70:x}").read_text()

    assert "not of this CA" in why(showing(pem).get("/devices/me"))


def test_one_that_the_authority_signed_and_nobody_recorded_is_refused(
    row: DeviceCertificate,
) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(fingerprint="0" * 64)

    assert "not on record" in why(showing(row.pem).get("/devices/me"))


@pytest.mark.parametrize("status", ["pending", "failed", "expired"])
def test_one_that_never_was_in_use_or_is_over_is_refused(
    row: DeviceCertificate, status: str
) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(status=status)

    assert status in why(showing(row.pem).get("/devices/me"))


def test_one_of_a_retired_authority_is_refused(row: DeviceCertificate) -> None:
    CertificateAuthority.objects.update(status="retired")

    assert "not of this CA" in why(showing(row.pem).get("/devices/me"))


def test_that_of_a_retired_device_is_refused(
    row: DeviceCertificate, device: Device
) -> None:
    registration.retire(device=device, now=datetime.now(UTC))

    assert showing(row.pem).get("/devices/me").status_code == 401


@pytest.mark.parametrize(
    "text", ["x", "-----BEGIN CERTIFICATE-----", "%00", "A" * 20_000]
)
def test_what_is_no_certificate_is_refused(row: DeviceCertificate, text: str) -> None:
    assert why(showing(text).get("/devices/me"))


def test_it_opens_a_devices_doors_and_no_others(row: DeviceCertificate) -> None:
    client = showing(row.pem)

    for path in ("/devices", f"/certificates/{row.serial_number}"):
        assert client.get(path).status_code == 403


def test_a_device_in_quarantine_connects_and_gets_nothing(
    row: DeviceCertificate, device: Device
) -> None:
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=datetime.now(UTC))
    client = showing(row.pem)

    assert client.post("/devices/connect", {}).json()["quarantined"] is True
    assert client.get("/devices/me").status_code == 403


def test_a_bearers_token_goes_before_the_connections_certificate(
    row: DeviceCertificate, member: Callable[..., APIClient]
) -> None:
    answer = member().get(
        "/devices", HTTP_X_SSL_CLIENT_CERT=quote(row.pem), REMOTE_ADDR=PROXY
    )

    assert answer.status_code == 200


def test_the_first_use_of_a_new_one_supersedes_the_old_one(
    row: DeviceCertificate,
) -> None:
    renewed = CertificateManagementService().renew_certificate(
        row, now=datetime.now(UTC)
    )
    assert showing(row.pem).get("/devices/me").status_code == 200
    row.refresh_from_db()
    assert row.status == "active"

    assert showing(renewed.pem).get("/devices/me").status_code == 200

    row.refresh_from_db()
    renewed.refresh_from_db()
    assert row.status == "superseded"
    assert renewed.confirmed_at is not None
