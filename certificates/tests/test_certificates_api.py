from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.pki.issuer import Addresses
from certificates.services import enrollment as certificates_enrollment
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.file_store import CertificateStore
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.queries import devices_known_by
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
def strangers() -> DeviceCertificate:
    return CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(),
        csr_pem=request_for(ec_key()),
        now=datetime.now(UTC),
    )


def test_a_registration_with_a_request_answers_with_the_certificate(
    enrollment: Callable[..., Any],
) -> None:
    _, box = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    answer = box.post("/devices/auto-register", body)

    assert answer.status_code == 201
    certificate = answer.json()["certificate"]
    assert certificate["device_id"] == answer.json()["device"]["id"]
    assert certificate["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert certificate["chain"].startswith("-----BEGIN CERTIFICATE-----")
    again = box.post("/devices/auto-register", body)
    assert again.status_code == 200
    assert again.json()["certificate"]["replaces"] == certificate["serial_number"]


@pytest.mark.parametrize(
    "csr",
    [
        "nonsense",
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----",
    ],
)
def test_a_registration_with_a_bad_request_registers_nothing(
    enrollment: Callable[..., Any], csr: str
) -> None:
    _, box = enrollment()

    answer = box.post("/devices/auto-register", {"serial_number": "SN-1", "csr": csr})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "csr"
    assert not Device.every_tenant.exists()


def test_a_registration_whose_key_is_anothers_leaves_no_living_device(
    enrollment: Callable[..., Any],
) -> None:
    _, box = enrollment()
    request = request_for(ec_key())
    box.post("/devices/auto-register", {"serial_number": "SN-1", "csr": request})

    answer = box.post(
        "/devices/auto-register", {"serial_number": "SN-2", "csr": request}
    )

    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "key_in_use"
    assert Device.every_tenant.living().count() == 1


def test_a_member_issues_lists_and_reads(member: Member, device: Device) -> None:
    url = f"/devices/{device.pk}/certificates"
    first = member().post(url, {"csr": request_for(ec_key())})
    second = member().post(url, {"key_type": "ec"})

    assert (first.status_code, second.status_code) == (201, 201)
    listed = member().get(url).json()["results"]
    assert [item["handover_until"] is None for item in listed] == [True, False]
    serial_number = second.json()["serial_number"]
    read = member(Role.VIEWER).get(f"/certificates/{serial_number}")
    assert read.json()["fingerprint"] == second.json()["fingerprint"]


def test_a_serial_number_is_known_in_any_notation(
    member: Member, row: DeviceCertificate
) -> None:
    digits = row.serial_number.upper().zfill(40)
    colons = ":".join(digits[i : i + 2] for i in range(0, 40, 2))

    assert member().get(f"/certificates/{colons}").status_code == 200


def test_renew_and_revoke(member: Member, row: DeviceCertificate) -> None:
    renewed = member().post(f"/certificates/{row.serial_number}/renew")
    assert renewed.status_code == 201
    assert renewed.json()["replaces"] == row.serial_number

    url = f"/certificates/{renewed.json()['serial_number']}/revoke"
    revoked = member().post(url, {"reason": "keyCompromise"})
    again = member().post(url, {"reason": "superseded"})
    assert revoked.json()["status"] == "revoked"
    assert again.json()["revoked_at"] == revoked.json()["revoked_at"]


def test_a_viewer_renews_and_revokes_nothing(
    member: Member, row: DeviceCertificate
) -> None:
    viewer = member(Role.VIEWER)

    for verb in ("renew", "revoke"):
        url = f"/certificates/{row.serial_number}/{verb}"
        assert viewer.post(url, {}).status_code == 403


def test_a_strangers_certificate_is_not_there(
    member: Member, strangers: DeviceCertificate
) -> None:
    client, serial = member(), strangers.serial_number

    assert client.get(f"/certificates/{serial}").status_code == 404
    assert client.post(f"/certificates/{serial}/renew").status_code == 404
    assert client.post(f"/certificates/{serial}/revoke", {}).status_code == 404
    listed = client.get(f"/devices/{strangers.device_id}/certificates")
    assert listed.status_code == 404
    issue = client.post(f"/devices/{strangers.device_id}/certificates", {})
    assert issue.status_code == 404
    strangers.refresh_from_db()
    assert strangers.status == "active"


def validated(client: APIClient, pem: str) -> Any:
    return client.post("/certificates/validate", {"certificate": pem}).json()


def test_a_good_certificate_has_no_problems(
    member: Member, row: DeviceCertificate
) -> None:
    verdict = validated(member(), row.pem)

    assert verdict["valid"]
    assert verdict["problems"] == []
    assert verdict["serial_number"] == row.serial_number


def test_a_verdict_names_every_problem(
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

    assert validated(member(), row.pem)["problems"] == ["revoked"]
    assert validated(member(), old.pem)["problems"] == [
        "fingerprint_mismatch",
        "expired",
    ]
    assert validated(member(), "nonsense")["problems"] == ["malformed"]


def test_a_strangers_certificate_is_unknown_to_the_verdict(
    member: Member, strangers: DeviceCertificate
) -> None:
    verdict = validated(member(), strangers.pem)

    assert verdict["problems"] == ["unknown"]
    assert verdict["serial_number"] is None


def test_a_certificate_of_another_authority_is_not_ours(
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
    assert validated(member(), pem)["problems"] == ["unknown", "signature_invalid"]


def test_a_device_fetches_its_certificate_and_brings_a_new_key(
    device: Device, row: DeviceCertificate, as_device: Callable[[Device], APIClient]
) -> None:
    box = as_device(device)

    fetched = box.get("/devices/me/certificate").json()
    assert fetched["serial_number"] == row.serial_number
    assert fetched["chain"].startswith("-----BEGIN CERTIFICATE-----")

    rekeyed = box.post("/devices/me/certificate", {"csr": request_for(ec_key())})
    assert rekeyed.status_code == 201
    assert rekeyed.json()["replaces"] == row.serial_number
    assert box.post("/devices/me/certificate", {}).status_code == 400


def test_a_device_without_a_certificate_finds_none(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    assert as_device(device).get("/devices/me/certificate").status_code == 404


def test_no_answer_contains_a_private_key(member: Member, device: Device) -> None:
    client = member()
    issued = client.post(f"/devices/{device.pk}/certificates", {"key_type": "ec"})
    serial_number = issued.json()["serial_number"]

    for url in (
        f"/certificates/{serial_number}",
        f"/devices/{device.pk}/certificates",
        f"/devices/{device.pk}",
    ):
        assert b"PRIVATE" not in client.get(url).content
    assert b"PRIVATE" not in issued.content


def test_a_refused_registration_takes_nothing_from_a_known_box(
    enrollment: Callable[..., Any],
) -> None:
    _, box = enrollment()
    request = request_for(ec_key())
    box.post("/devices/auto-register", {"serial_number": "SN-1", "csr": request})
    known = box.post("/devices/auto-register", {"serial_number": "SN-2"}).json()

    refused = box.post(
        "/devices/auto-register", {"serial_number": "SN-2", "csr": request}
    )

    assert refused.status_code == 409
    device = APIClient()
    device.credentials(HTTP_AUTHORIZATION=f"Bearer {known['token']}")
    assert device.get("/devices/me").status_code == 200


def test_a_registration_whose_signing_fails_gives_back_its_use(
    enrollment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, box = enrollment(max_uses=1)
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(CertificateStore, "stage", full)
        disk.setattr(box, "raise_request_exception", False)
        assert box.post("/devices/auto-register", body).status_code == 500
    token.refresh_from_db()
    assert token.uses == 0
    assert not Device.every_tenant.living().exists()
    assert box.post("/devices/auto-register", body).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_twenty_registrations_with_one_request_at_once_all_succeed(
    enrollment: Callable[..., Any],
) -> None:
    _, box = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}

    def register(_: int) -> int:
        try:
            return int(copy(box).post("/devices/auto-register", body).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(register, range(20)))

    assert statuses == [200] * 19 + [201]
    assert Device.every_tenant.living().count() == 1
    assert DeviceCertificate.objects.active().count() == 1


def test_a_box_that_registers_itself_between_two_questions_is_not_another(
    enrollment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, box = enrollment()
    body = {"serial_number": "SN-1", "csr": request_for(ec_key())}
    ask = devices_known_by
    asked: list[bool] = []

    def register_meanwhile(identifiers: Any) -> Any:
        known = ask(identifiers)
        if not asked:
            asked.append(True)
            assert copy(box).post("/devices/auto-register", body).status_code == 201
        return known

    monkeypatch.setattr(certificates_enrollment, "devices_known_by", register_meanwhile)

    assert box.post("/devices/auto-register", body).status_code == 200
