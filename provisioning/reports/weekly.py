"""The weekly report of a tenant, which its members can have by mail."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPRecipientsRefused

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Count, Q, QuerySet
from django.urls import reverse

from certificates.models import DeviceCertificate
from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.updates.models import Deployment
from tenants.context import tenant_scope
from tenants.models import Membership, Tenant

logger = logging.getLogger(__name__)
WEEK = timedelta(days=7)
SENT_EVERY = timedelta(days=6)  # at the least, so that a second run of a Monday sends nothing
MONTH = timedelta(days=30)
MOST_LISTED = 5
MAX_MAILS = 500  # in one run; the next one sends the others


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a week."""

    devices: dict[str, int]  # by state
    new_devices: int
    longest_offline: Sequence[tuple[str, datetime]]  # name and last contact
    opened: int
    still_open: int
    by_rule: Sequence[tuple[str, int]]  # alerts opened, most first
    certificates_due: int  # that end within a month
    certificates_expired: int  # in the last week
    rollouts: Sequence[tuple[str, str]]  # name and state


def report(*, now: datetime) -> Report:
    """Return the figures of the current tenant for the last seven days."""
    devices = Device.objects.not_retired()
    offline = devices.offline().order_by("last_seen", "pk").values_list("name", "last_seen")
    opened = Alert.objects.raised_since(now - WEEK)
    rules = opened.order_by().values_list("rule__name").annotate(count=Count("pk"))
    certificates = DeviceCertificate.objects.of_current_tenant()
    in_use = certificates.active().filter(not_after__gt=now, not_after__lte=now + MONTH)
    expired = certificates.filter(not_after__gt=now - WEEK, not_after__lte=now)
    running = Deployment.objects.filter(Q(begun_at__isnull=False, ended_at=None))
    ended = Deployment.objects.filter(ended_at__gt=now - WEEK)
    return Report(
        devices=devices.counts_by_state(),
        new_devices=devices.filter(registered_at__gt=now - WEEK).count(),
        longest_offline=[(name, seen) for name, seen in offline[:MOST_LISTED] if seen],
        opened=opened.count(),
        still_open=Alert.objects.open().count(),
        by_rule=sorted(
            ((name or "Many devices silent at once", count) for name, count in rules),
            key=lambda row: -row[1],
        )[:MOST_LISTED],
        certificates_due=in_use.count(),
        certificates_expired=expired.filter(status="expired").count(),
        rollouts=[
            (row.name, row.get_state_display())
            for row in [*running[:MOST_LISTED], *ended[:MOST_LISTED]]
        ],
    )


def text_of(tenant: Tenant, figures: Report) -> str:
    """Return a report as the text of a mail."""
    return "\n".join(_lines(tenant, figures))


def due(now: datetime) -> QuerySet[Membership]:
    """Return the memberships, of all tenants, whose report has to be sent."""
    return Membership.every_tenant.filter(
        Q(report_sent_at=None) | Q(report_sent_at__lt=now - SENT_EVERY),
        wants_weekly_report=True,
        user__is_active=True,
        tenant__suspended_at=None,
    ).order_by("tenant_id", "pk")


def send_due(*, now: datetime) -> int:
    """Send the reports that are due, tenant by tenant. Return the number of mails.

    If the mail server does not answer, the others stay due. A killed run may send one again. An
    address that the server refuses for good is tried again next week.
    """
    if not settings.EMAIL_HOST:
        return 0
    sent, texts = 0, dict[object, str]()
    for membership in due(now).select_related("user", "tenant")[:MAX_MAILS]:
        tenant = membership.tenant
        with tenant_scope(tenant.pk):
            if tenant.pk not in texts:
                texts = {tenant.pk: text_of(tenant, report(now=now))}
            sent += _send(membership, texts[tenant.pk], now)
    return sent


def _send(membership: Membership, text: str, now: datetime) -> bool:
    """Mail a report. Return whether the mail server accepted it."""
    accepted, is_final = True, True
    try:
        EmailMessage(
            subject=f"[provisioning] {membership.tenant.name}: the week until {now:%Y-%m-%d}"[:200],
            body=text,
            to=[membership.user.email],
        ).send()
    except SMTPRecipientsRefused as error:  # one address must not keep the others from their mail
        accepted = False
        # 4xx is for now only (RFC 5321 §4.2.1), as servers answer that know no senders yet.
        is_final = all(code >= 500 for code, _ in error.recipients.values())
        logger.warning("The mail server refused the weekly report of member %s.", membership.pk)
    if is_final:
        Membership.objects.filter(pk=membership.pk).update(report_sent_at=now)
    return accepted


def _lines(tenant: Tenant, figures: Report) -> Iterator[str]:
    counts = figures.devices
    yield f"{tenant.name}: {sum(counts.values()):,} devices, {figures.new_devices:,} of them new."
    yield ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items()) + "."
    if figures.longest_offline:
        yield ""
        yield "Offline for the longest time:"
        for name, seen in figures.longest_offline:
            yield f"  {name}, since {seen:%Y-%m-%d}"
    yield ""
    yield f"Alerts: {figures.opened:,} opened in this week, {figures.still_open:,} open now."
    for rule, count in figures.by_rule:
        yield f"  {rule}: {count:,}"
    yield ""
    yield f"Certificates that end within 30 days: {figures.certificates_due:,}."
    if figures.certificates_expired:
        yield f"Certificates that expired in this week: {figures.certificates_expired:,}."
    if figures.rollouts:
        yield ""
        yield "Rollouts:"
        for name, state in figures.rollouts:
            yield f"  {name}: {state.lower()}"
    address = f"{settings.PUBLIC_URL}/t/{tenant.slug}"
    yield ""
    yield f"{address}{reverse('admin:index')}"
    yield "You receive this mail because you want it. To change this: "
    yield f"{address}{reverse('admin:own_settings')}"
