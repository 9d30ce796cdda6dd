"""Selection of the certificates to renew now. Each certificate is leased to one worker."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from certificates.errors import AuthorityUnavailable
from certificates.models import DeviceCertificate
from certificates.services import renewal_campaigns
from certificates.services.certificate_management import CertificateManagementService

FIRST_RETRY_DELAY = renewal_campaigns.LEASE  # doubles with each attempt
MAX_RETRY_DELAY = timedelta(hours=6)

log = logging.getLogger(__name__)


def claim_due(service: CertificateManagementService, *, now: datetime) -> list[UUID]:
    """Claim the certificates to renew in this minute and return their ids.

    Three groups of certificates are claimed:
    - at most `RENEWALS_PER_MINUTE` certificates that end within `AUTO_RENEWAL_DAYS`. Those
      that end first are claimed first. The backlog of an outage is renewed at this rate;
    - at most as many whose renewal a member has requested;
    - the certificates that the running renewal campaigns renew now.

    A certificate that is not renewed is claimed again after a delay that doubles with
    each attempt. Nothing is claimed while the CA cannot sign.
    """
    try:
        service.authority(now=now)
    except AuthorityUnavailable as error:
        log.error("Certificates cannot be renewed: %s", error)
        return []
    due = _lease_due(now, settings.RENEWALS_PER_MINUTE)
    requested = _lease_requested(now, settings.RENEWALS_PER_MINUTE)
    early = renewal_campaigns.advance(now=now)
    return list(dict.fromkeys([*due, *requested, *early]))


@transaction.atomic
def _lease_requested(now: datetime, limit: int) -> list[UUID]:
    """Lease certificates whose renewal was requested. The request ends when they are renewed.

    `renewal_requested_at` is the time of the next attempt, as long as the request lasts.
    """
    requested = DeviceCertificate.objects.filter(renewal_requested_at__lte=now)
    oldest = requested.order_by("renewal_requested_at").select_for_update(skip_locked=True)
    ids = list(oldest.values_list("pk", flat=True)[:limit])
    renewable = DeviceCertificate.objects.active().filter(
        pk__in=ids, not_after__gt=now, handover_until__isnull=True
    )
    leased = list(renewable.values_list("pk", flat=True))
    DeviceCertificate.objects.filter(pk__in=leased).update(
        renewal_requested_at=now + FIRST_RETRY_DELAY
    )
    ended = set(ids) - set(leased)
    DeviceCertificate.objects.filter(pk__in=ended).update(renewal_requested_at=None)
    return leased


@transaction.atomic
def _lease_due(now: datetime, limit: int) -> list[UUID]:
    """Lease up to `limit` due certificates. The ORM has no UPDATE … RETURNING."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH due AS MATERIALIZED (
                SELECT id FROM certificates_devicecertificate
                WHERE status = 'active' AND handover_until IS NULL
                    AND not_after > %(now)s AND not_after <= %(horizon)s
                    AND (renew_after IS NULL OR renew_after <= %(now)s)
                ORDER BY not_after LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            UPDATE certificates_devicecertificate certificate
            SET renewal_attempts = LEAST(renewal_attempts + 1, 1000),
                renew_after = %(now)s + make_interval(secs => LEAST(
                    %(first)s * power(2, LEAST(renewal_attempts, 10)), %(longest)s
                ) * (1 + random() / 4))
            FROM due WHERE certificate.id = due.id
            RETURNING certificate.id, certificate.not_after
            """,
            {
                "now": now,
                "horizon": now + timedelta(days=settings.AUTO_RENEWAL_DAYS),
                "limit": limit,
                "first": FIRST_RETRY_DELAY.total_seconds(),
                "longest": MAX_RETRY_DELAY.total_seconds(),
            },
        )
        rows = sorted(cursor.fetchall(), key=lambda row: row[1])
    return [pk for pk, _ in rows]
