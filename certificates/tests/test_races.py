"""Tests of concurrent certificate operations and repeated tasks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from certificates.errors import AlreadyRunning, IssuanceInterrupted, NoKeyToDeliver, NotRenewable
from certificates.models import CertificateAuthority, DeviceCertificate, RenewalCampaign
from certificates.services import handover, key_delivery, key_removal, renewal_campaigns, renewals
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from certificates.tasks import renew
from certificates.tests.issuance import issue_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import every_tenant_scope, tenant_scope

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime.now(UTC)


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def run_concurrently(work: Callable[[int], Any], count: int = 20) -> list[Any]:
    """Run work in threads. Return the result or the exception of each call."""

    def run(number: int) -> Any:
        with every_tenant_scope():
            try:
                return work(number)
            except Exception as error:
                return error
            finally:
                connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def event_count(name: str) -> int:
    return int(Event.every_tenant.named(name).count())


def assert_no_differences(service: CertificateManagementService) -> None:
    later = NOW + timedelta(minutes=5)
    assert list(IntegrityCheck(service, clock=lambda: later, fix=False).run()) == []


def test_twenty_concurrent_first_issuances_create_one_ca(
    service: CertificateManagementService,
) -> None:
    devices = DeviceFactory.create_batch(20)
    requests = [request_for(ec_key()) for _ in devices]

    rows = run_concurrently(
        lambda number: service.issue_certificate(
            device=devices[number], csr_pem=requests[number], now=NOW
        )
    )

    assert {type(row) for row in rows} == {DeviceCertificate}
    assert CertificateAuthority.objects.count() == 1
    assert_no_differences(service)


def test_twenty_concurrent_issuances_for_one_device_leave_one_active(
    service: CertificateManagementService, device: Device
) -> None:
    requests = [request_for(ec_key()) for _ in range(20)]

    run_concurrently(
        lambda number: service.issue_certificate(device=device, csr_pem=requests[number], now=NOW)
    )

    assert DeviceCertificate.objects.active().count() == 1
    assert not DeviceCertificate.objects.pending().exists()
    on_file = service.ca.store.certificate_of(device.pk).read_text()
    assert on_file == DeviceCertificate.objects.active().get().pem


def test_twenty_concurrent_issuances_leave_a_matching_server_generated_key(
    service: CertificateManagementService, device: Device
) -> None:
    run_concurrently(lambda _: service.issue_certificate(device=device, key_type="ec", now=NOW))

    assert DeviceCertificate.objects.active().count() == 1
    assert_no_differences(service)


def test_twenty_concurrent_revocations_record_one_event(
    service: CertificateManagementService, device: Device
) -> None:
    row = issue_certificate(device, NOW)

    run_concurrently(
        lambda number: service.revoke_certificate(
            row, reason="superseded", now=NOW + timedelta(seconds=number)
        )
    )

    assert event_count("certificate.revoked") == 1


def test_twenty_concurrent_acknowledgements_supersede_once(
    service: CertificateManagementService, device: Device
) -> None:
    renewed = service.renew_certificate(issue_certificate(device, NOW), now=NOW)

    run_concurrently(lambda _: handover.confirm(renewed, now=NOW))

    assert event_count("certificate.superseded") == 1


def test_twenty_concurrent_deliveries_deliver_the_key_once(
    service: CertificateManagementService, device: Device
) -> None:
    service.issue_certificate(device=device, key_type="ec", now=NOW)

    def deliver(_: int) -> Any:
        with tenant_scope(device.tenant_id):
            return key_delivery.deliver(
                device=device, form="pem", passphrase="", store=service.ca.store, now=NOW
            )

    outcomes = run_concurrently(deliver)

    assert sum(isinstance(outcome, key_delivery.Bundle) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, NoKeyToDeliver) for outcome in outcomes) == 19
    assert event_count("certificate.key_delivered") == 1


def test_concurrent_renewals_revocations_and_issuances_stay_consistent(
    service: CertificateManagementService, device: Device
) -> None:
    row = issue_certificate(device, NOW)
    requests = [request_for(ec_key()) for _ in range(20)]

    def work(number: int) -> Any:
        match number % 3:
            case 0:
                return service.renew_certificate(row, now=NOW)
            case 1:
                return service.revoke_certificate(row, reason="superseded", now=NOW)
        return service.issue_certificate(device=device, csr_pem=requests[number], now=NOW)

    outcomes = run_concurrently(work)

    refusals = {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)}
    assert refusals <= {NotRenewable, IssuanceInterrupted}
    row.refresh_from_db()
    assert row.status == "revoked"
    assert DeviceCertificate.objects.active().count() == 1
    assert_no_differences(service)


def test_a_repeated_renewal_task_renews_once(device: Device) -> None:
    row = issue_certificate(device, NOW - timedelta(days=360))

    for _ in range(3):
        renew(str(row.pk))

    assert DeviceCertificate.objects.count() == 2
    assert event_count("certificate.renewed") == 1


def test_twenty_concurrent_campaign_requests_start_one_campaign(device: Device) -> None:
    issue_certificate(device, NOW - timedelta(days=1))

    outcomes = run_concurrently(
        lambda _: renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=NOW)
    )

    assert sum(isinstance(outcome, RenewalCampaign) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyRunning) for outcome in outcomes) == 19


def test_concurrent_renewal_claims_do_not_overlap(service: CertificateManagementService) -> None:
    rows = [
        issue_certificate(device, NOW - timedelta(days=360))
        for device in DeviceFactory.create_batch(12)
    ]

    claims = run_concurrently(lambda _: renewals.claim_due(service, now=NOW), count=4)

    assert sorted(pk for claim in claims for pk in claim) == sorted(row.pk for row in rows)


def test_a_pending_issuance_for_a_compromised_key_fails(
    service: CertificateManagementService, device: Device
) -> None:
    key = ec_key()
    row = issue_certificate(device, NOW, key)
    pending = service.renew_certificate(row, now=NOW)
    DeviceCertificate.objects.filter(pk=pending.pk).update(status="pending", handover_until=None)
    DeviceCertificate.objects.filter(pk=row.pk).update(handover_until=None)

    service.revoke_certificate(row, reason="keyCompromise", now=NOW)
    check = IntegrityCheck(service, clock=lambda: NOW + timedelta(hours=1), fix=True)
    list(check.run())

    statuses = DeviceCertificate.objects.values_list("status", flat=True)
    assert sorted(statuses) == ["failed", "revoked"]


def test_removing_a_delivered_key_keeps_the_key_of_the_renewal(
    service: CertificateManagementService, device: Device
) -> None:
    row = service.issue_certificate(device=device, key_type="ec", now=NOW)
    DeviceCertificate.objects.filter(pk=row.pk).update(key_delivered_at=NOW)
    row.refresh_from_db()
    service.renew_certificate(row, now=NOW)

    assert not key_removal.remove_delivered_key(row, service.ca.store)

    assert service.ca.store.key_of(device.pk).exists()
    assert_no_differences(service)
