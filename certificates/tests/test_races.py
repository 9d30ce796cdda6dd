"""Twenty at once, two workers, a task that comes again: the same as one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from certificates.errors import (
    AlreadyRunning,
    IssuanceInterrupted,
    NoKeyToDeliver,
    NotRenewable,
)
from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    RenewalCampaign,
)
from certificates.services import (
    handover,
    key_delivery,
    key_removal,
    renewal_campaigns,
    renewals,
)
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from certificates.tasks import renew
from certificates.tests.issued import issue_certificate
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


def at_once(work: Callable[[int], Any], count: int = 20) -> list[Any]:
    """What each came to; a refusal counts as its outcome."""

    def alone(number: int) -> Any:
        with every_tenant_scope():
            try:
                return work(number)
            except Exception as error:
                return error
            finally:
                connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(alone, range(count)))


def named(name: str) -> int:
    return int(Event.every_tenant.named(name).count())


def agree(service: CertificateManagementService) -> None:
    later = NOW + timedelta(minutes=5)
    assert list(IntegrityCheck(service, clock=lambda: later, fix=False).run()) == []


def test_twenty_first_issuances_of_an_installation_make_one_authority(
    service: CertificateManagementService,
) -> None:
    devices = DeviceFactory.create_batch(20)
    requests = [request_for(ec_key()) for _ in devices]

    made = at_once(
        lambda number: service.issue_certificate(
            device=devices[number], csr_pem=requests[number], now=NOW
        )
    )

    assert {type(row) for row in made} == {DeviceCertificate}
    assert CertificateAuthority.objects.count() == 1
    agree(service)


def test_twenty_issuances_for_one_device_leave_one_in_use(
    service: CertificateManagementService, device: Device
) -> None:
    requests = [request_for(ec_key()) for _ in range(20)]

    at_once(
        lambda number: service.issue_certificate(
            device=device, csr_pem=requests[number], now=NOW
        )
    )

    assert DeviceCertificate.objects.active().count() == 1
    assert not DeviceCertificate.objects.pending().exists()
    on_file = service.ca.store.certificate_of(device.pk).read_text()
    assert on_file == DeviceCertificate.objects.active().get().pem


def test_twenty_with_server_made_keys_leave_a_pair(
    service: CertificateManagementService, device: Device
) -> None:
    at_once(lambda _: service.issue_certificate(device=device, key_type="ec", now=NOW))

    assert DeviceCertificate.objects.active().count() == 1
    agree(service)


def test_twenty_revocations_are_one(
    service: CertificateManagementService, device: Device
) -> None:
    row = issue_certificate(device, NOW)

    at_once(
        lambda number: service.revoke_certificate(
            row, reason="superseded", now=NOW + timedelta(seconds=number)
        )
    )

    assert named("certificate.revoked") == 1


def test_twenty_acknowledgements_supersede_once(
    service: CertificateManagementService, device: Device
) -> None:
    new = service.renew_certificate(issue_certificate(device, NOW), now=NOW)

    at_once(lambda _: handover.confirm(new, now=NOW))

    assert named("certificate.superseded") == 1


def test_twenty_that_want_the_key_get_it_once(
    service: CertificateManagementService, device: Device
) -> None:
    service.issue_certificate(device=device, key_type="ec", now=NOW)

    def deliver(_: int) -> Any:
        with tenant_scope(device.tenant_id):
            return key_delivery.deliver(
                device=device,
                form="pem",
                passphrase="",
                store=service.ca.store,
                now=NOW,
            )

    outcomes = at_once(deliver)

    assert sum(isinstance(one, key_delivery.Bundle) for one in outcomes) == 1
    assert sum(isinstance(one, NoKeyToDeliver) for one in outcomes) == 19
    assert named("certificate.key_delivered") == 1


def test_renewals_revocations_and_issuances_at_once_leave_order(
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
        return service.issue_certificate(
            device=device, csr_pem=requests[number], now=NOW
        )

    outcomes = at_once(work)

    refusals = {type(one) for one in outcomes if isinstance(one, Exception)}
    assert refusals <= {NotRenewable, IssuanceInterrupted}
    row.refresh_from_db()
    assert row.status == "revoked"
    assert DeviceCertificate.objects.active().count() == 1
    agree(service)


def test_a_renewal_that_is_delivered_again_makes_no_second_one(device: Device) -> None:
    row = issue_certificate(device, NOW - timedelta(days=360))

    for _ in range(3):
        renew(str(row.pk))

    assert DeviceCertificate.objects.count() == 2
    assert named("certificate.renewed") == 1


def test_twenty_that_pull_the_same_renewals_forward_begin_it_once(
    device: Device,
) -> None:
    issue_certificate(device, NOW - timedelta(days=1))

    begun = at_once(
        lambda _: renewal_campaigns.pull_forward(
            reason="incident", per_minute=1, now=NOW
        )
    )

    assert sum(isinstance(one, RenewalCampaign) for one in begun) == 1
    assert sum(isinstance(one, AlreadyRunning) for one in begun) == 19


def test_two_that_send_renewals_share_them(
    service: CertificateManagementService,
) -> None:
    rows = [
        issue_certificate(device, NOW - timedelta(days=360))
        for device in DeviceFactory.create_batch(12)
    ]

    claims = at_once(lambda _: renewals.claim_due(service, now=NOW), count=4)

    assert sorted(pk for claim in claims for pk in claim) == sorted(
        row.pk for row in rows
    )


def test_what_is_being_signed_for_a_compromised_key_is_not_finished(
    service: CertificateManagementService, device: Device
) -> None:
    key = ec_key()
    row = issue_certificate(device, NOW, key)
    reserved = issue_certificate(device, NOW, key)
    DeviceCertificate.objects.filter(pk=reserved.pk).update(
        status="pending", handover_until=None
    )
    DeviceCertificate.objects.filter(pk=row.pk).update(handover_until=None)

    service.revoke_certificate(row, reason="keyCompromise", now=NOW)
    check = IntegrityCheck(service, clock=lambda: NOW + timedelta(hours=1), fix=True)
    list(check.run())

    statuses = DeviceCertificate.objects.values_list("status", flat=True)
    assert sorted(statuses) == ["failed", "revoked"]


def test_the_next_key_outlives_the_removal_of_a_delivered_one(
    service: CertificateManagementService, device: Device
) -> None:
    row = service.issue_certificate(device=device, key_type="ec", now=NOW)
    DeviceCertificate.objects.filter(pk=row.pk).update(key_delivered_at=NOW)
    row.refresh_from_db()
    service.renew_certificate(row, now=NOW)

    assert not key_removal.remove_delivered_key(row, service.ca.store)

    assert service.ca.store.key_of(device.pk).exists()
    agree(service)
