"""Tests of renewal handover, renewal windows, due renewals and renewal campaigns."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from certificates.errors import AlreadyRunning, NothingToRenew
from certificates.models import DeviceCertificate, RenewalCampaign
from certificates.models.campaign import serial_position
from certificates.services import handover, renewal_campaigns, renewals
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.expirations import in_batches
from certificates.services.renewal_windows import window_of
from certificates.tasks import renew_due
from certificates.tests.issuance import issue_certificate, revoke_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]
Member = Callable[..., APIClient]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


@pytest.fixture(autouse=True)
def clear_cache() -> None:
    renewal_campaigns.clear_cache()


def renew(row: DeviceCertificate, now: datetime) -> DeviceCertificate:
    return CertificateManagementService().renew_certificate(row, now=now)


def status(row: DeviceCertificate) -> str:
    row.refresh_from_db()
    return str(row.status)


# --- Handover -----------------------------------------------------------------------------


def test_an_old_certificate_is_active_until_the_new_one_is_acknowledged(
    device: Device, as_device: AsDevice
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now)
    new = renew(old, now)
    client = as_device(device)
    assert status(old) == "active"

    certificate = client.get("/devices/me/certificate").json()
    assert certificate["serial_number"] == new.serial_number
    assert status(old) == "active", "a fetch is no confirmation, because the response may be lost"
    response = client.post(
        "/devices/me/certificate/acknowledge", {"serial_number": certificate["serial_number"]}
    )

    assert response.status_code == 200
    assert response.json()["confirmed_at"]
    assert status(old) == "superseded"
    names = [event.name for event in Event.every_tenant.order_by("pk")]
    assert names[-1] == "certificate.superseded"


def test_a_repeated_acknowledgement_has_no_effect(device: Device, now: datetime) -> None:
    old = issue_certificate(device, now)
    new = renew(old, now)

    for _ in range(2):
        handover.acknowledge(device=device, serial_number=new.serial_number, now=now)

    assert Event.every_tenant.named("certificate.superseded").count() == 1


def test_an_unacknowledged_handover_ends_after_the_grace_period(
    device: Device, now: datetime
) -> None:
    old = issue_certificate(device, now)
    renew(old, now)
    grace_period = timedelta(days=configured.HANDOVER_DAYS)

    def end_at(moment: datetime) -> int:
        return sum(in_batches(lambda: handover.end_overdue_handovers(moment)))

    assert end_at(now + grace_period - MINUTE) == 0
    assert status(old) == "active"
    assert end_at(now + grace_period) == 1
    assert status(old) == "superseded"


def test_a_device_can_acknowledge_only_its_own_certificates(
    device: Device, as_device: AsDevice
) -> None:
    other_certificate = issue_certificate(DeviceFactory.create(), datetime.now(UTC))
    client = as_device(device)

    def acknowledge(serial_number: str) -> int:
        body = {"serial_number": serial_number}
        response = client.post("/devices/me/certificate/acknowledge", body)
        return int(response.status_code)

    assert acknowledge(other_certificate.serial_number) == 404
    assert acknowledge("abc") == 404
    assert acknowledge("not hexadecimal") == 400
    own_certificate = issue_certificate(device, datetime.now(UTC))
    revoke_certificate(own_certificate, datetime.now(UTC))
    assert acknowledge(own_certificate.serial_number) == 409


def test_a_second_renewal_before_the_first_is_fetched_leaves_one_active(
    device: Device, now: datetime
) -> None:
    first = issue_certificate(device, now)
    second = renew(first, now)
    third = renew(second, now + MINUTE)

    assert DeviceCertificate.objects.active().get() == third
    handover.confirm(second, now=now + 2 * MINUTE)  # the device fetched this one first
    assert (status(first), status(second)) == ("superseded", "active")
    handover.confirm(third, now=now + 3 * MINUTE)
    assert status(second) == "superseded"


def test_revoking_the_new_certificate_makes_the_old_one_active_again(
    device: Device, now: datetime, as_device: AsDevice
) -> None:
    old = issue_certificate(device, now)
    new = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )

    revoke_certificate(new, now, reason="superseded")

    assert DeviceCertificate.objects.active().get() == old
    steps = as_device(device).post("/devices/connect", {}).json()["next_steps"]
    assert steps["certificate_serial_number"] == old.serial_number


def test_a_key_compromise_revokes_all_certificates_of_the_key(
    device: Device, now: datetime
) -> None:
    old = issue_certificate(device, now)
    new = renew(old, now)  # for the same key

    revoke_certificate(new, now, reason="keyCompromise")

    assert (status(old), status(new)) == ("revoked", "revoked")


# --- Renewal windows --------------------------------------------------------------------------


def test_the_renewal_window_ends_before_the_automatic_renewal(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None

    window = window_of(row, now=now)

    automatic_renewal = row.not_after - timedelta(days=configured.AUTO_RENEWAL_DAYS)
    assert window.reason == "expiry"
    assert window.end - window.start == DAY
    assert automatic_renewal - 3 * DAY <= window.start < window.end <= automatic_renewal


def test_renewal_windows_are_spread_over_time(now: datetime) -> None:
    starts = [
        window_of(issue_certificate(DeviceFactory.create(), now), now=now).start for _ in range(12)
    ]

    assert len(set(starts)) == 12
    assert max(starts) - min(starts) > timedelta(hours=6)


def test_the_renewal_window_does_not_depend_on_the_time_of_the_request(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)

    assert window_of(row, now=now) == window_of(row, now=now + 9 * DAY)


def test_renewal_info_is_visible_to_the_device_and_its_tenants_members(
    device: Device, as_device: AsDevice, member: Member
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    path = f"/certificates/{row.serial_number}/renewal-info"

    for client in (as_device(device), member()):
        response = client.get(path)
        assert response.status_code == 200
        assert response["Retry-After"] == "21600"
        body = response.json()
        assert set(body) == {"suggested_window", "reason"}
        assert body["suggested_window"]["start"] < body["suggested_window"]["end"]
    other_device = DeviceFactory.create(tenant=device.tenant)
    for client in (as_device(other_device), member(of=TenantFactory.create())):
        assert client.get(path).status_code == 404
    assert APIClient().get(path).status_code == 401


def test_connect_reports_the_same_window(device: Device, as_device: AsDevice) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    client = as_device(device)
    renewal_info = client.get(f"/certificates/{row.serial_number}/renewal-info").json()

    steps = client.post("/devices/connect", {}).json()["next_steps"]

    assert steps["certificate_renewal_due"] is False
    assert steps["certificate_renewal"]["reason"] == "expiry"
    for end in ("start", "end"):
        value = steps["certificate_renewal"][end]
        assert datetime.fromisoformat(value) == datetime.fromisoformat(
            renewal_info["suggested_window"][end]
        )


@pytest.mark.parametrize("reason", ["revoked", "superseded"])
def test_the_window_of_a_replaced_or_revoked_certificate_is_past(
    device: Device, now: datetime, reason: str
) -> None:
    row = issue_certificate(device, now)
    if reason == "revoked":
        revoke_certificate(row, now)
    else:
        renew(row, now)
    row.refresh_from_db()

    window = window_of(row, now=now + DAY)

    assert window.reason == reason
    assert window.start < window.end < now + DAY


# --- Due renewals -----------------------------------------------------------------------------


def issue_to_devices(count: int, now: datetime, **fields: Any) -> list[DeviceCertificate]:
    return [
        issue_certificate(device, now) for device in DeviceFactory.create_batch(count, **fields)
    ]


def test_after_an_outage_renewals_run_by_urgency_at_the_configured_rate(
    service: CertificateManagementService, now: datetime, settings: Any
) -> None:
    settings.RENEWALS_PER_MINUTE = 3
    rows = [row for day in range(4) for row in issue_to_devices(2, now - timedelta(days=4 - day))]
    assert rows[0].not_after is not None
    now_after_outage = rows[0].not_after - MINUTE  # just before the first expiry

    claims = []
    for minute in range(4):
        due = renewals.claim_due(service, now=now_after_outage + minute * timedelta(seconds=15))
        claims.append(due)
        for pk in due:
            row = DeviceCertificate.objects.get(pk=pk)
            service.renew_certificate(row, now=now_after_outage)

    assert [len(due) for due in claims] == [3, 3, 2, 0]
    order = [pk for due in claims for pk in due]
    assert set(order[:2]) == {rows[0].pk, rows[1].pk}
    assert set(order) == {row.pk for row in rows}


def test_a_claimed_renewal_is_claimed_again_after_a_growing_pause(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None
    due = row.not_after - 5 * DAY

    assert renewals.claim_due(service, now=due) == [row.pk]
    assert renewals.claim_due(service, now=due + 9 * MINUTE) == []
    # Here the task is lost. The pause doubles with each attempt, plus random jitter.
    assert renewals.claim_due(service, now=due + 13 * MINUTE) == [row.pk]
    assert renewals.claim_due(service, now=due + 30 * MINUTE) == []
    assert renewals.claim_due(service, now=due + 60 * MINUTE) == [row.pk]


def test_nothing_is_claimed_while_the_ca_cannot_sign(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None
    due = row.not_after - DAY
    store = DeviceCertificatesService().store
    store.ca_certificate.rename(store.root / "away")

    assert renewals.claim_due(service, now=due) == []

    (store.root / "away").rename(store.ca_certificate)
    assert renewals.claim_due(service, now=due) == [row.pk]


@pytest.mark.django_db(transaction=True)
def test_the_worker_renews_due_and_campaign_certificates(
    celery_worker: None, device: Device
) -> None:
    now = datetime.now(UTC)
    row = issue_certificate(device, now - timedelta(days=360))

    renew_due.delay()

    wait_until(lambda: DeviceCertificate.objects.filter(replaces=row).exists())
    renewal_campaigns.pull_forward(reason="drill", per_minute=9, now=datetime.now(UTC))
    newest = DeviceCertificate.objects.active().get()
    renew_due.delay()
    wait_until(lambda: DeviceCertificate.objects.filter(replaces=newest).exists())


def advance(now: datetime) -> list[Any]:
    """Advance the campaigns and renew the certificates that they claim, as the workers do."""
    due = renewal_campaigns.advance(now=now)
    for pk in due:
        renew(DeviceCertificate.objects.get(pk=pk), now)
    return due


# --- Campaigns --------------------------------------------------------------------------------


def test_a_campaign_renews_all_certificates_at_its_rate(now: datetime) -> None:
    rows = issue_to_devices(7, now)
    campaign = renewal_campaigns.pull_forward(
        reason="weak random numbers", per_minute=3, now=now + MINUTE
    )

    steps = [advance(now + (1 + step) * MINUTE) for step in range(4)]

    assert [len(step) for step in steps] == [3, 3, 1, 0]
    assert {pk for step in steps for pk in step} == {row.pk for row in rows}
    campaign.refresh_from_db()
    assert (campaign.certificates, campaign.renewed) == (7, 7)
    assert campaign.ended_at == now + 4 * MINUTE
    assert not campaign.stopped


def test_a_campaign_resumes_at_its_rate_after_an_outage(now: datetime) -> None:
    rows = issue_to_devices(7, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=2, now=now + MINUTE)
    first_step = advance(now + MINUTE)

    now_after_outage = now + 7 * DAY
    later_steps = [advance(now_after_outage + step * MINUTE) for step in range(4)]

    assert [len(step) for step in later_steps] == [2, 2, 1, 0]
    assert {pk for step in [first_step, *later_steps] for pk in step} == {row.pk for row in rows}


def test_a_lost_campaign_renewal_is_sent_again(now: datetime) -> None:
    rows = issue_to_devices(5, now)
    campaign = renewal_campaigns.pull_forward(reason="incident", per_minute=3, now=now + MINUTE)

    lost_steps = [renewal_campaigns.advance(now=now + step * MINUTE) for step in (1, 2, 3)]
    repeated_steps = [advance(now + step * MINUTE) for step in (11, 12, 13, 14)]

    assert [len(step) for step in lost_steps] == [3, 2, 0]
    assert {pk for step in repeated_steps for pk in step} == {row.pk for row in rows}
    campaign.refresh_from_db()
    assert campaign.ended_at is not None


def test_a_second_campaign_with_the_same_scope_is_rejected(now: datetime) -> None:
    issue_to_devices(1, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=now + MINUTE)

    with pytest.raises(AlreadyRunning):
        renewal_campaigns.pull_forward(reason="again", per_minute=9, now=now + MINUTE)


def test_two_advances_within_a_minute_do_not_exceed_the_rate(now: datetime) -> None:
    issue_to_devices(6, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=2, now=now + MINUTE)

    assert len(renewal_campaigns.advance(now=now + MINUTE)) == 2
    assert len(renewal_campaigns.advance(now=now + MINUTE)) == 0
    assert len(renewal_campaigns.advance(now=now + MINUTE + timedelta(seconds=30))) == 1


def test_a_campaign_can_be_limited_to_a_tenant_or_a_model(now: datetime, tenant: Tenant) -> None:
    tenant_rows = issue_to_devices(2, now, tenant=tenant)
    model_rows = issue_to_devices(2, now, model="X96")
    issue_to_devices(1, now)

    for fields, expected in (({"tenant": tenant}, tenant_rows), ({"model": "X96"}, model_rows)):
        campaign = renewal_campaigns.pull_forward(
            reason="part", per_minute=9, now=now + MINUTE, **fields
        )
        assert campaign.certificates == 2
        assert set(renewal_campaigns.advance(now=now + MINUTE)) == {row.pk for row in expected}


def test_a_campaign_ignores_certificates_issued_after_its_start(now: datetime) -> None:
    (row,) = issue_to_devices(1, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=now + MINUTE)
    issue_to_devices(1, now + 2 * MINUTE)

    claims = [renewal_campaigns.advance(now=now + minute * MINUTE) for minute in range(3, 6)]

    assert [pk for step in claims for pk in step] == [row.pk]


def test_a_campaign_moves_renewal_windows_and_sets_their_reason(
    device: Device, as_device: AsDevice
) -> None:
    now = datetime.now(UTC)
    row = issue_certificate(device, now - DAY)
    untouched = issue_certificate(DeviceFactory.create(), now - DAY)
    renewal_campaigns.pull_forward(
        reason="weak random numbers", per_minute=60, tenant=device.tenant, now=now
    )

    window = window_of(row, now=now)
    client = as_device(device)
    renewal_info = client.get(f"/certificates/{row.serial_number}/renewal-info").json()
    steps = client.post("/devices/connect", {}).json()["next_steps"]

    assert now <= window.start <= now + MINUTE
    assert window.reason == renewal_info["reason"] == "weak random numbers"
    assert steps["certificate_renewal"]["reason"] == "weak random numbers"
    assert window_of(untouched, now=now).reason == "expiry"


def test_a_stopped_campaign_renews_nothing_more(now: datetime) -> None:
    rows = issue_to_devices(3, now)
    campaign = renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=now + MINUTE)
    renewal_campaigns.advance(now=now + MINUTE)

    for _ in range(2):
        renewal_campaigns.stop(campaign.pk, now=now + 2 * MINUTE)

    assert renewal_campaigns.advance(now=now + 3 * MINUTE) == []
    assert {window_of(row, now=now).reason for row in rows} == {"expiry"}
    campaign.refresh_from_db()
    assert campaign.stopped


def test_a_campaign_without_certificates_is_rejected(now: datetime) -> None:
    with pytest.raises(NothingToRenew):
        renewal_campaigns.pull_forward(reason="nothing", per_minute=1, now=now)
    assert not RenewalCampaign.objects.exists()


def test_pull_renewals_forward_starts_lists_and_stops_campaigns(
    device: Device, capsys: Any
) -> None:
    issue_certificate(device, datetime.now(UTC) - DAY)

    def run(*arguments: str) -> str:
        call_command("pull_renewals_forward", *arguments)
        return str(capsys.readouterr().out)

    assert "No renewal campaign" in run()
    assert "incident" in run("--reason", "incident", "--per-minute", "5")
    campaign = RenewalCampaign.objects.get()
    assert str(campaign.pk) in run()
    assert "Stopped" in run("--stop", str(campaign.pk))
    for arguments in (["--reason", "x"], ["--per-minute", "0", "--reason", "x"]):
        with pytest.raises(CommandError) as error:
            run(*arguments)
        assert error.value.returncode == 2
    with pytest.raises(CommandError, match="no tenant"):
        run("--reason", "x", "--per-minute", "5", "--tenant", "no-such-tenant")


def test_serial_positions_are_ordered_between_zero_and_one() -> None:
    positions = [serial_position(text) for text in ("1", "10", "8000", "ffffffff", "f" * 40)]

    assert positions == sorted(positions)
    assert 0 <= positions[0] <= positions[-1] <= 1
