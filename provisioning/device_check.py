"""Check what a device does of the protocol (docs/devices.md): right, wrong, or not at all.

The device is watched while it works. Nothing is sent to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from django.conf import settings

from certificates.models import DeviceCertificate
from devices.configurations.models import ReportedConfiguration
from devices.metrics.models import DeviceMetrics
from devices.registry.models import Device, NextSteps, UnreadableField
from devices.remote_control.models import CommandHistory, Status
from devices.updates.models import UpdateStatus

RIGHT, WRONG, NOT_SEEN = "right", "wrong", "not seen"
SAME_REQUEST = timedelta(seconds=2)  # a connect and what follows it
TOO_SLOW, TOO_FAST = 1.5, 0.5  # of the interval that the server names
MAX_FIELDS = 5  # unreadable fields that are named
ANSWERED = (Status.SUCCEEDED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part of the protocol."""

    topic: str
    verdict: str
    detail: str


@dataclass(slots=True)
class Watch:
    """What was seen of a device since `started`. Call `look` each second or so."""

    device: Device
    started: datetime
    seen: list[datetime]

    @classmethod
    def begin(cls, device: Device, *, now: datetime) -> "Watch":
        return cls(device, now, [])

    def look(self) -> None:
        """Note when the device was last seen."""
        self.device.refresh_from_db()
        last = self.device.last_seen
        if last is None or last <= self.started:
            return
        if not self.seen or last - self.seen[-1] > SAME_REQUEST:
            self.seen.append(last)

    def findings(self) -> list[Finding]:
        """Return a finding for each part of the protocol."""
        checks = (
            _connects(self.seen),
            _facts(self.device),
            _configuration(self.device),
            _metrics(self.device, self.started),
            _commands(self.device, self.started),
            _updates(self.device, self.started),
            _certificate(self.device),
            _fields(self.device, self.started),
        )
        return [finding for check in checks for finding in check]


def _connects(seen: Sequence[datetime]) -> Iterator[Finding]:
    interval = float(settings.CONNECT_INTERVAL_SECONDS)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(seen)]
    if not gaps:
        detail = f"The device was seen {len(seen)} times, which is too little to measure."
        yield Finding("connect", NOT_SEEN, detail)
        return
    usual, longest = median(gaps), max(gaps)
    detail = f"It was seen every {usual:.0f} s, with {longest:.0f} s as the longest pause."
    is_right = usual >= TOO_FAST * interval and longest <= TOO_SLOW * interval
    wanted = "" if is_right else f" The server wants a connect every {interval:.0f} s."
    yield Finding("connect", RIGHT if is_right else WRONG, detail + wanted)


def _facts(device: Device) -> Iterator[Finding]:
    for name in ("app_version", "os_version"):
        value = getattr(device, name)
        yield Finding(name, RIGHT if value else NOT_SEEN, value or "It is not reported.")
    if device.boot_id or device.report_number is not None:
        yield Finding("boot_id", RIGHT, "A copy of its disk can be found.")
    else:
        detail = "Without boot_id or report_number, a copy of its disk is not found."
        yield Finding("boot_id", NOT_SEEN, detail)


def _configuration(device: Device) -> Iterator[Finding]:
    steps = NextSteps.objects.filter(device=device)
    wanted = steps.values_list("configuration_version", flat=True).first()
    if not wanted:
        detail = "The tenant has no configuration. Save one while this command runs."
        yield Finding("configuration", NOT_SEEN, detail)
        return
    report = ReportedConfiguration.objects.filter(device=device).first()
    if report is None or report.version != wanted:
        detail = "The device has not reported that it has applied its configuration."
        yield Finding("configuration", WRONG, detail)
    elif report.outcome == ReportedConfiguration.Outcome.FAILED:
        yield Finding("configuration", RIGHT, f"It has reported a failure: {report.reason}")
    else:
        yield Finding("configuration", RIGHT, "It has reported the version that it should have.")


def _metrics(device: Device, since: datetime) -> Iterator[Finding]:
    samples = DeviceMetrics.objects.filter(device_id=device.pk, received_at__gte=since)
    count, wrong = samples.count(), samples.filter(device_time__isnull=False).count()
    if not count:
        yield Finding("metrics", NOT_SEEN, "No sample has arrived. Five minutes are usual.")
        return
    yield Finding("metrics", RIGHT, f"{count} samples have arrived.")
    if wrong:
        detail = f"The times of {wrong} samples were corrected, because its clock is wrong."
        yield Finding("clock", WRONG, detail)


def _commands(device: Device, since: datetime) -> Iterator[Finding]:
    rows = CommandHistory.objects.filter(device=device, issued_at__gte=since)
    statuses = list(rows.values_list("status", "sent_at"))
    sent = [status for status, sent_at in statuses if sent_at is not None]
    answered = sum(status in ANSWERED for status in sent)
    if not statuses:
        detail = "There was no command. Send one in the portal while this command runs."
        yield Finding("commands", NOT_SEEN, detail)
    elif not sent:
        yield Finding("commands", WRONG, f"It has fetched none of {len(statuses)} commands.")
    else:
        verdict = RIGHT if answered == len(sent) else WRONG
        yield Finding("commands", verdict, f"It has answered {answered} of {len(sent)} commands.")


def _updates(device: Device, since: datetime) -> Iterator[Finding]:
    rows = UpdateStatus.objects.filter(device=device, opened_at__isnull=False)
    offered = rows.open().count()
    heard = rows.filter(heard_at__gte=since).order_by("-heard_at").first()
    if heard is not None:
        verdict = WRONG if heard.status == "failed" else RIGHT
        yield Finding("update", verdict, f"{heard.version}: {heard.get_status_display()}")
    elif offered:
        yield Finding("update", WRONG, "An update is offered, and the device reports nothing.")
    else:
        yield Finding("update", NOT_SEEN, "No update is offered to the device.")


def _certificate(device: Device) -> Iterator[Finding]:
    row = DeviceCertificate.objects.of_device(device.pk).filter(status="active").first()
    if row is None:
        detail = "It has none. Send a CSR with the registration or to /devices/me/certificate."
        yield Finding("certificate", NOT_SEEN, detail)
    elif row.confirmed_at is None:
        yield Finding("certificate", WRONG, "The device has not acknowledged its certificate.")
    else:
        yield Finding("certificate", RIGHT, f"{row.serial_number} is acknowledged.")


def _fields(device: Device, since: datetime) -> Iterator[Finding]:
    rows = UnreadableField.objects.filter(device=device, last_seen_at__gte=since)
    found = list(rows.values_list("field", "detail")[:MAX_FIELDS])
    if not found:
        yield Finding("fields", RIGHT, "All fields of its messages can be used.")
    for field, detail in found:
        yield Finding("fields", WRONG, f"{field}: {detail}")
