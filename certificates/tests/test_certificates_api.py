"""Tests of the certificate endpoints for members and devices."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from certificates import queries
from certificates.models import DeviceCertificate
from certificates.pki.issuer import Addresses
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.file_store import CertificateStore
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.models import Role

Member = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


@pytest.fixture
def row(device: Device) -> DeviceCertificate:
    return CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )


@pytest.fixture
def other_tenants_certificate() -> DeviceCertificate:
    return CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(), csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )


def test_a_registration_with_a_csr_returns_a_certificate(enrollment: Callable[..., Any]) -> None:
    _, client = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    response = client.post("/devices/auto-register", body)

    assert response.status_code == 201
    certificate = response.json()["certificate"]
    assert certificate["device_id"] == response.json()["device"]["id"]
    assert certificate["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert certificate["chain"].startswith("-----BEGIN CERTIFICATE-----")
    again = client.post("/devices/auto-register", body)
    assert again.status_code == 200
    assert again.json()["certificate"]["serial_number"] == certificate["serial_number"]


@pytest.mark.parametrize("csr", [None, "", "  "])
def test_a_registration_with_an_empty_csr_is_one_without_a_certificate(
    enrollment: Callable[..., Any], csr: str | None
) -> None:
    _, client = enrollment()

    response = client.post("/devices/auto-register", {"serial_number": "SN-1", "csr": csr})

    assert response.status_code == 201
    assert response.json()["certificate"] is None
    assert [item["field"] for item in response.json()["ignored"]] == ["csr"]


@pytest.mark.parametrize(
    "csr",
    ["nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----"],
)
def test_a_registration_with_an_invalid_csr_registers_nothing(
    enrollment: Callable[..., Any], csr: str
) -> None:
    _, client = enrollment()

    response = client.post("/devices/auto-register", {"serial_number": "SN-1", "csr": csr})

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "csr"
    assert not Device.every_tenant.exists()


def test_a_registration_with_the_same_key_is_of_the_same_device(
    enrollment: Callable[..., Any],
) -> None:
    _, client = enrollment()
    request = request_for(ec_key())
    first = client.post("/devices/auto-register", {"serial_number": "SN-1", "csr": request})

    response = client.post("/devices/auto-register", {"serial_number": "SN-2", "csr": request})

    assert response.status_code == 200
    assert response.json()["device"]["id"] == first.json()["device"]["id"]
    assert response.json()["device"]["serial_number"] == "SN-2"


def test_a_registration_with_the_key_of_another_tenants_device_registers_nothing(
    enrollment: Callable[..., Any], member: Callable[..., APIClient]
) -> None:
    other_member = member(of=DeviceFactory.create().tenant)
    _, client = enrollment()
    request = request_for(ec_key())
    other_member.post("/devices/auto-register", {"serial_number": "SN-1", "csr": request})

    response = client.post("/devices/auto-register", {"serial_number": "SN-2", "csr": request})

    assert response.status_code == 409
    assert response.json()["errors"][0]["code"] == "key_in_use"
    assert Device.every_tenant.not_retired().count() == 2


def test_a_request_that_is_repeated_returns_the_certificate_in_use(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    client, body = as_device(device), {"csr": request_for(ec_key())}

    serial_numbers = {
        client.post("/devices/me/certificate", body).json()["serial_number"] for _ in range(5)
    }

    assert len(serial_numbers) == 1
    assert DeviceCertificate.objects.count() == 1


def test_a_registration_that_is_repeated_with_its_key_has_one_certificate(
    enrollment: Callable[..., Any],
) -> None:
    _, client = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    serial_numbers = {
        client.post("/devices/auto-register", body).json()["certificate"]["serial_number"]
        for _ in range(3)
    }

    assert len(serial_numbers) == 1


def test_a_member_issues_lists_and_reads_certificates(member: Member, device: Device) -> None:
    url = f"/devices/{device.pk}/certificates"
    first = member().post(url, {"csr": request_for(ec_key())})
    second = member().post(url, {"key_type": "ec"})

    assert (first.status_code, second.status_code) == (201, 201)
    results = member().get(url).json()["results"]
    assert [item["handover_until"] is None for item in results] == [True, False]
    serial_number = second.json()["serial_number"]
    response = member(Role.VIEWER).get(f"/certificates/{serial_number}")
    assert response.json()["fingerprint"] == second.json()["fingerprint"]


def test_a_serial_number_is_accepted_in_any_notation(
    member: Member, row: DeviceCertificate
) -> None:
    digits = row.serial_number.upper().zfill(40)
    colons = ":".join(digits[i : i + 2] for i in range(0, 40, 2))

    assert member().get(f"/certificates/{colons}").status_code == 200


def test_a_member_renews_and_revokes_a_certificate(member: Member, row: DeviceCertificate) -> None:
    renewed = member().post(f"/certificates/{row.serial_number}/renew")
    assert renewed.status_code == 201
    assert renewed.json()["replaces"] == row.serial_number

    url = f"/certificates/{renewed.json()['serial_number']}/revoke"
    revoked = member().post(url, {"reason": "keyCompromise"})
    again = member().post(url, {"reason": "superseded"})
    assert revoked.json()["status"] == "revoked"
    assert again.json()["revoked_at"] == revoked.json()["revoked_at"]


def test_a_viewer_cannot_renew_or_revoke(member: Member, row: DeviceCertificate) -> None:
    viewer = member(Role.VIEWER)

    for action in ("renew", "revoke"):
        url = f"/certificates/{row.serial_number}/{action}"
        assert viewer.post(url, {}).status_code == 403


def test_another_tenants_certificate_is_not_found(
    member: Member, other_tenants_certificate: DeviceCertificate
) -> None:
    client, serial = member(), other_tenants_certificate.serial_number

    assert client.get(f"/certificates/{serial}").status_code == 404
    assert client.post(f"/certificates/{serial}/renew").status_code == 404
    assert client.post(f"/certificates/{serial}/revoke", {}).status_code == 404
    response = client.get(f"/devices/{other_tenants_certificate.device_id}/certificates")
    assert response.status_code == 404
    response = client.post(f"/devices/{other_tenants_certificate.device_id}/certificates", {})
    assert response.status_code == 404
    other_tenants_certificate.refresh_from_db()
    assert other_tenants_certificate.status == "active"


def validate(client: APIClient, pem: str) -> Any:
    return client.post("/certificates/validate", {"certificate": pem}).json()


def test_validating_a_good_certificate_reports_no_problems(
    member: Member, row: DeviceCertificate
) -> None:
    result = validate(member(), row.pem)

    assert result["valid"]
    assert result["problems"] == []
    assert result["serial_number"] == row.serial_number


def test_validation_reports_every_problem(
    member: Member, device: Device, row: DeviceCertificate
) -> None:
    service = CertificateManagementService()
    service.revoke_certificate(row, reason="superseded", now=datetime.now(UTC))
    old = service.issue_certificate(
        device=device,
        csr_pem=request_for(ec_key()),
        now=service.ca.issuer().certificate.not_valid_before_utc,
    )
    DeviceCertificate.objects.filter(pk=old.pk).update(fingerprint="0" * 64)

    assert validate(member(), row.pem)["problems"] == ["revoked"]
    assert validate(member(), old.pem)["problems"] == ["fingerprint_mismatch", "expired"]
    assert validate(member(), "nonsense")["problems"] == ["malformed"]


def test_validation_reports_another_tenants_certificate_as_unknown(
    member: Member, other_tenants_certificate: DeviceCertificate
) -> None:
    result = validate(member(), other_tenants_certificate.pem)

    assert result["problems"] == ["unknown"]
    assert result["serial_number"] is None


def test_validation_rejects_a_certificate_of_another_ca(
    member: Member, tmp_path: Any, device: Device
) -> None:
    now = datetime.now(UTC)
    other = DeviceCertificatesService(tmp_path / "other")
    signed = other.issue_certificate(
        device.pk,
        serial_number=2**70,
        issuer=other.initialize_ca(now=now, key_type="ec"),
        addresses=Addresses("http://x/1.crl", "http://x/ca.cer"),
        key_type="ec",
        now=now,
    )
    pem = other.store.staged_certificate(f"{2**70:x}").read_text()

    assert signed.key_made_here
    assert validate(member(), pem)["problems"] == ["unknown", "signature_invalid"]


def test_a_device_fetches_its_certificate_and_replaces_its_key(
    device: Device, row: DeviceCertificate, as_device: Callable[[Device], APIClient]
) -> None:
    client = as_device(device)

    certificate = client.get("/devices/me/certificate").json()
    assert certificate["serial_number"] == row.serial_number
    assert certificate["chain"].startswith("-----BEGIN CERTIFICATE-----")

    response = client.post("/devices/me/certificate", {"csr": request_for(ec_key())})
    assert response.status_code == 201
    assert response.json()["replaces"] == row.serial_number
    assert client.post("/devices/me/certificate", {}).status_code == 400


def test_a_device_without_a_certificate_gets_404(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    assert as_device(device).get("/devices/me/certificate").status_code == 404


def test_no_response_contains_a_private_key(member: Member, device: Device) -> None:
    client = member()
    response = client.post(f"/devices/{device.pk}/certificates", {"key_type": "ec"})
    serial_number = response.json()["serial_number"]

    for url in (
        f"/certificates/{serial_number}",
        f"/devices/{device.pk}/certificates",
        f"/devices/{device.pk}",
    ):
        assert b"PRIVATE" not in client.get(url).content
    assert b"PRIVATE" not in response.content


def test_a_rejected_registration_leaves_the_known_device_its_token(
    enrollment: Callable[..., Any], member: Callable[..., APIClient]
) -> None:
    other_member = member(of=DeviceFactory.create().tenant)
    _, client = enrollment()
    request = request_for(ec_key())
    other_member.post("/devices/auto-register", {"serial_number": "SN-1", "csr": request})
    registered = client.post("/devices/auto-register", {"serial_number": "SN-2"}).json()

    response = client.post("/devices/auto-register", {"serial_number": "SN-2", "csr": request})

    assert response.status_code == 409
    device_client = APIClient()
    device_client.credentials(HTTP_AUTHORIZATION=f"Bearer {registered['token']}")
    assert device_client.get("/devices/me").status_code == 200


def test_a_registration_whose_signing_fails_refunds_the_enrollment_token(
    enrollment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, client = enrollment(max_uses=1)
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    def raise_disk_full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(CertificateStore, "stage", raise_disk_full)
        disk.setattr(client, "raise_request_exception", False)
        assert client.post("/devices/auto-register", body).status_code == 500
    token.refresh_from_db()
    assert token.uses == 0
    assert not Device.every_tenant.not_retired().exists()
    assert client.post("/devices/auto-register", body).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_registrations_with_one_csr_all_succeed(
    enrollment: Callable[..., Any],
) -> None:
    _, client = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    def register(_: int) -> int:
        try:
            return int(copy(client).post("/devices/auto-register", body).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(register, range(20)))

    assert statuses == [200] * 19 + [201]
    assert Device.every_tenant.not_retired().count() == 1
    assert DeviceCertificate.objects.active().count() == 1


def test_a_device_registered_between_two_lookups_is_not_registered_twice(
    enrollment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}
    original = queries.key_refusal_reason
    calls: list[bool] = []

    def register_meanwhile(digest: str, **arguments: Any) -> Any:
        if not calls:  # between the lookup of the key's device and this check
            calls.append(True)
            assert copy(client).post("/devices/auto-register", body).status_code == 201
        return original(digest, **arguments)

    monkeypatch.setattr(queries, "key_refusal_reason", register_meanwhile)

    assert client.post("/devices/auto-register", body).status_code == 200
