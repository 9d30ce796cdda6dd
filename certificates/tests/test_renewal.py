"""Renewal as a handshake, its windows, and renewals pulled forward."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from certificates.errors import AlreadyRunning, NothingToRenew
from certificates.models import DeviceCertificate, RenewalCampaign
from certificates.models.campaign import position
from certificates.services import handover, renewal_campaigns, renewals
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.expirations import in_batches
from certificates.services.renewal_windows import window_of
from certificates.tasks import renew_due
from certificates.tests.issued import issue_certificate, revoke_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import until
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
def fresh() -> None:
    renewal_campaigns.forget()


def renewed(row: DeviceCertificate, now: datetime) -> DeviceCertificate:
    return CertificateManagementService().renew_certificate(row, now=now)


def status(row: DeviceCertificate) -> str:
    row.refresh_from_db()
    return str(row.status)


# --- From one to the next -----------------------------------------------------------------


def test_the_old_one_is_good_until_the_device_acknowledges_the_new_one(
    device: Device, as_device: AsDevice
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now)
    new = renewed(old, now)
    box = as_device(device)
    assert status(old) == "active"

    fetched = box.get("/devices/me/certificate").json()
    assert fetched["serial_number"] == new.serial_number
    assert status(old) == "active", "fetching is not having: the answer may be lost"
    said = box.post(
        "/devices/me/certificate/acknowledge",
        {"serial_number": fetched["serial_number"]},
    )

    assert said.status_code == 200
    assert said.json()["confirmed_at"]
    assert status(old) == "superseded"
    names = [event.name for event in Event.every_tenant.order_by("pk")]
    assert names[-1] == "certificate.superseded"


def test_an_acknowledgement_twice_is_once(device: Device, now: datetime) -> None:
    old = issue_certificate(device, now)
    new = renewed(old, now)

    for _ in range(2):
        handover.acknowledge(device=device, serial_number=new.serial_number, now=now)

    assert Event.every_tenant.named("certificate.superseded").count() == 1


def test_without_an_acknowledgement_the_old_one_is_superseded_after_the_grace_period(
    device: Device, now: datetime
) -> None:
    old = issue_certificate(device, now)
    renewed(old, now)
    grace = timedelta(days=configured.HANDOVER_DAYS)

    def end_at(moment: datetime) -> int:
        return sum(in_batches(lambda: handover.end_some(moment)))

    assert end_at(now + grace - MINUTE) == 0
    assert status(old) == "active"
    assert end_at(now + grace) == 1
    assert status(old) == "superseded"


def test_a_device_acknowledges_its_own_certificates_only(
    device: Device, as_device: AsDevice
) -> None:
    stranger = issue_certificate(DeviceFactory.create(), datetime.now(UTC))
    box = as_device(device)

    def acknowledged(serial_number: str) -> int:
        body = {"serial_number": serial_number}
        answer = box.post("/devices/me/certificate/acknowledge", body)
        return int(answer.status_code)

    assert acknowledged(stranger.serial_number) == 404
    assert acknowledged("abc") == 404
    assert acknowledged("not hexadecimal") == 400
    mine = issue_certificate(device, datetime.now(UTC))
    revoke_certificate(mine, datetime.now(UTC))
    assert acknowledged(mine.serial_number) == 409


def test_a_second_renewal_before_the_first_is_fetched_leaves_one_in_use(
    device: Device, now: datetime
) -> None:
    first = issue_certificate(device, now)
    second = renewed(first, now)
    third = renewed(second, now + MINUTE)

    assert DeviceCertificate.objects.active().get() == third
    handover.confirm(second, now=now + 2 * MINUTE)  # it fetched that one before
    assert (status(first), status(second)) == ("superseded", "active")
    handover.confirm(third, now=now + 3 * MINUTE)
    assert status(second) == "superseded"


def test_when_the_new_one_is_revoked_the_old_one_is_in_use_again(
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


def test_a_compromised_key_takes_all_its_certificates_with_it(
    device: Device, now: datetime
) -> None:
    old = issue_certificate(device, now)
    new = renewed(old, now)  # the same key, signed again

    revoke_certificate(new, now, reason="keyCompromise")

    assert (status(old), status(new)) == ("revoked", "revoked")


# --- When to renew --------------------------------------------------------------------------


def test_the_window_ends_before_the_server_renews_by_itself(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None

    window = window_of(row, now=now)

    by_itself = row.not_after - timedelta(days=configured.AUTO_RENEWAL_DAYS)
    assert window.reason == "expiry"
    assert window.end - window.start == DAY
    assert by_itself - 3 * DAY <= window.start < window.end <= by_itself


def test_windows_of_a_fleet_are_spread(now: datetime) -> None:
    starts = [
        window_of(issue_certificate(DeviceFactory.create(), now), now=now).start
        for _ in range(12)
    ]

    assert len(set(starts)) == 12
    assert max(starts) - min(starts) > timedelta(hours=6)


def test_the_same_certificate_has_the_same_window_whenever_it_asks(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)

    assert window_of(row, now=now) == window_of(row, now=now + 9 * DAY)


def test_the_device_and_its_tenants_members_may_ask_and_nobody_else(
    device: Device, as_device: AsDevice, member: Member
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    path = f"/certificates/{row.serial_number}/renewal-info"

    for client in (as_device(device), member()):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer["Retry-After"] == "21600"
        body = answer.json()
        assert set(body) == {"suggested_window", "reason"}
        assert body["suggested_window"]["start"] < body["suggested_window"]["end"]
    neighbour = DeviceFactory.create(tenant=device.tenant)
    for client in (as_device(neighbour), member(of=TenantFactory.create())):
        assert client.get(path).status_code == 404
    assert APIClient().get(path).status_code == 401


def test_connect_tells_the_same_window(device: Device, as_device: AsDevice) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    box = as_device(device)
    info = box.get(f"/certificates/{row.serial_number}/renewal-info").json()

    steps = box.post("/devices/connect", {}).json()["next_steps"]

    assert steps["certificate_renewal_due"] is False
    assert steps["certificate_renewal"]["reason"] == "expiry"
    for end in ("start", "end"):
        told = steps["certificate_renewal"][end]
        assert datetime.fromisoformat(told) == datetime.fromisoformat(
            info["suggested_window"][end]
        )


@pytest.mark.parametrize("why", ["revoked", "superseded"])
def test_the_window_of_one_that_is_over_lies_in_the_past(
    device: Device, now: datetime, why: str
) -> None:
    row = issue_certificate(device, now)
    if why == "revoked":
        revoke_certificate(row, now)
    else:
        renewed(row, now)
    row.refresh_from_db()

    window = window_of(row, now=now + DAY)

    assert window.reason == why
    assert window.start < window.end < now + DAY


# --- Which are renewed now -------------------------------------------------------------------


def fleet(count: int, now: datetime, **about: Any) -> list[DeviceCertificate]:
    return [
        issue_certificate(device, now)
        for device in DeviceFactory.create_batch(count, **about)
    ]


def test_after_a_weeks_outage_all_are_renewed_the_most_urgent_first_at_the_set_rate(
    service: CertificateManagementService, now: datetime, settings: Any
) -> None:
    settings.RENEWALS_PER_MINUTE = 3
    rows = [row for day in range(4) for row in fleet(2, now - timedelta(days=4 - day))]
    assert rows[0].not_after is not None
    back = rows[0].not_after - MINUTE  # the first ends in a minute

    minutes = []
    for minute in range(4):
        due = renewals.claim_due(service, now=back + minute * timedelta(seconds=15))
        minutes.append(due)
        for pk in due:
            row = DeviceCertificate.objects.get(pk=pk)
            service.renew_certificate(row, now=back)

    assert [len(due) for due in minutes] == [3, 3, 2, 0]
    order = [pk for due in minutes for pk in due]
    assert set(order[:2]) == {rows[0].pk, rows[1].pk}
    assert set(order) == {row.pk for row in rows}


def test_what_is_claimed_is_not_claimed_again_until_its_pause_is_over(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None
    due = row.not_after - 5 * DAY

    assert renewals.claim_due(service, now=due) == [row.pk]
    assert renewals.claim_due(service, now=due + 9 * MINUTE) == []
    # The task was lost; the pause doubles with each attempt, with a little chance in it.
    assert renewals.claim_due(service, now=due + 13 * MINUTE) == [row.pk]
    assert renewals.claim_due(service, now=due + 30 * MINUTE) == []
    assert renewals.claim_due(service, now=due + 60 * MINUTE) == [row.pk]


def test_while_the_authority_cannot_sign_nothing_is_claimed(
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
def test_the_worker_renews_what_is_due(celery_worker: None, device: Device) -> None:
    now = datetime.now(UTC)
    row = issue_certificate(device, now - timedelta(days=360))

    renew_due.delay()

    until(lambda: DeviceCertificate.objects.filter(replaces=row).exists())
    renewal_campaigns.pull_forward(reason="drill", per_minute=9, now=datetime.now(UTC))
    newest = DeviceCertificate.objects.active().get()
    renew_due.delay()
    until(lambda: DeviceCertificate.objects.filter(replaces=newest).exists())


def advanced(now: datetime) -> list[Any]:
    """A step of the campaigns, and the workers' part in it."""
    due = renewal_campaigns.advance(now=now)
    for pk in due:
        renewed(DeviceCertificate.objects.get(pk=pk), now)
    return due


# --- Pulled forward -------------------------------------------------------------------------


def test_an_incident_renews_everything_at_the_rate_that_the_operator_sets(
    now: datetime,
) -> None:
    rows = fleet(7, now)
    campaign = renewal_campaigns.pull_forward(
        reason="weak random numbers", per_minute=3, now=now + MINUTE
    )

    steps = [advanced(now + (1 + step) * MINUTE) for step in range(4)]

    assert [len(step) for step in steps] == [3, 3, 1, 0]
    assert {pk for step in steps for pk in step} == {row.pk for row in rows}
    campaign.refresh_from_db()
    assert (campaign.certificates, campaign.renewed) == (7, 7)
    assert campaign.ended_at == now + 4 * MINUTE
    assert not campaign.stopped


def test_after_an_outage_a_campaign_goes_on_at_its_rate_and_loses_none(
    now: datetime,
) -> None:
    rows = fleet(7, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=2, now=now + MINUTE)
    begun = advanced(now + MINUTE)

    back = now + 7 * DAY
    rest = [advanced(back + step * MINUTE) for step in range(4)]

    assert [len(step) for step in rest] == [2, 2, 1, 0]
    assert {pk for step in [begun, *rest] for pk in step} == {row.pk for row in rows}


def test_what_was_sent_and_lost_is_sent_again(now: datetime) -> None:
    rows = fleet(5, now)
    campaign = renewal_campaigns.pull_forward(
        reason="incident", per_minute=3, now=now + MINUTE
    )

    lost = [renewal_campaigns.advance(now=now + step * MINUTE) for step in (1, 2, 3)]
    again = [advanced(now + step * MINUTE) for step in (11, 12, 13, 14)]

    assert [len(step) for step in lost] == [3, 2, 0]
    assert {pk for step in again for pk in step} == {row.pk for row in rows}
    campaign.refresh_from_db()
    assert campaign.ended_at is not None


def test_the_same_campaign_twice_is_refused(now: datetime) -> None:
    fleet(1, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=now + MINUTE)

    with pytest.raises(AlreadyRunning):
        renewal_campaigns.pull_forward(reason="again", per_minute=9, now=now + MINUTE)


def test_two_that_advance_within_a_minute_do_not_double_the_rate(now: datetime) -> None:
    fleet(6, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=2, now=now + MINUTE)

    assert len(renewal_campaigns.advance(now=now + MINUTE)) == 2
    assert len(renewal_campaigns.advance(now=now + MINUTE)) == 0
    assert len(renewal_campaigns.advance(now=now + MINUTE + timedelta(seconds=30))) == 1


def test_a_campaign_can_be_of_a_tenant_or_of_a_model(
    now: datetime, tenant: Tenant
) -> None:
    ours = fleet(2, now, tenant=tenant)
    models = fleet(2, now, model="X96")
    fleet(1, now)

    for about, expected in (({"tenant": tenant}, ours), ({"model": "X96"}, models)):
        campaign = renewal_campaigns.pull_forward(
            reason="part", per_minute=9, now=now + MINUTE, **about
        )
        assert campaign.certificates == 2
        assert set(renewal_campaigns.advance(now=now + MINUTE)) == {
            row.pk for row in expected
        }


def test_what_was_issued_since_is_not_renewed_again(now: datetime) -> None:
    (row,) = fleet(1, now)
    renewal_campaigns.pull_forward(reason="incident", per_minute=1, now=now + MINUTE)
    fleet(1, now + 2 * MINUTE)

    found = [
        renewal_campaigns.advance(now=now + minute * MINUTE) for minute in range(3, 6)
    ]

    assert [pk for step in found for pk in step] == [row.pk]


def test_the_windows_of_what_it_reaches_are_pulled_forward_with_its_reason(
    device: Device, as_device: AsDevice
) -> None:
    now = datetime.now(UTC)
    row = issue_certificate(device, now - DAY)
    untouched = issue_certificate(DeviceFactory.create(), now - DAY)
    renewal_campaigns.pull_forward(
        reason="weak random numbers", per_minute=60, tenant=device.tenant, now=now
    )

    window = window_of(row, now=now)
    box = as_device(device)
    info = box.get(f"/certificates/{row.serial_number}/renewal-info").json()
    steps = box.post("/devices/connect", {}).json()["next_steps"]

    assert now <= window.start <= now + MINUTE
    assert window.reason == info["reason"] == "weak random numbers"
    assert steps["certificate_renewal"]["reason"] == "weak random numbers"
    assert window_of(untouched, now=now).reason == "expiry"


def test_a_stopped_campaign_leaves_the_rest_to_its_own_time(now: datetime) -> None:
    rows = fleet(3, now)
    campaign = renewal_campaigns.pull_forward(
        reason="incident", per_minute=1, now=now + MINUTE
    )
    renewal_campaigns.advance(now=now + MINUTE)

    for _ in range(2):
        renewal_campaigns.stop(campaign.pk, now=now + 2 * MINUTE)

    assert renewal_campaigns.advance(now=now + 3 * MINUTE) == []
    assert {window_of(row, now=now).reason for row in rows} == {"expiry"}
    campaign.refresh_from_db()
    assert campaign.stopped


def test_a_campaign_over_nothing_is_refused(now: datetime) -> None:
    with pytest.raises(NothingToRenew):
        renewal_campaigns.pull_forward(reason="nothing", per_minute=1, now=now)
    assert not RenewalCampaign.objects.exists()


def test_the_operators_command_begins_lists_and_stops(
    device: Device, capsys: Any
) -> None:
    issue_certificate(device, datetime.now(UTC) - DAY)

    def said(*words: str) -> str:
        call_command("pull_renewals_forward", *words)
        return str(capsys.readouterr().out)

    assert "No renewals" in said()
    assert "incident" in said("--reason", "incident", "--per-minute", "5")
    campaign = RenewalCampaign.objects.get()
    assert str(campaign.pk) in said()
    assert "Stopped" in said("--stop", str(campaign.pk))
    for words in (["--reason", "x"], ["--per-minute", "0", "--reason", "x"]):
        with pytest.raises(CommandError) as wrong:
            said(*words)
        assert wrong.value.returncode == 2
    with pytest.raises(CommandError, match="no tenant"):
        said("--reason", "x", "--per-minute", "5", "--tenant", "nobody")


def test_serial_numbers_have_a_place_between_none_and_all() -> None:
    places = [position(text) for text in ("1", "10", "8000", "ffffffff", "f" * 40)]

    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1
