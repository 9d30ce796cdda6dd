"""Which certificates are to be renewed now: leased, so that each is tried by one alone."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from certificates.errors import AuthorityUnavailable
from certificates.services import renewal_campaigns
from certificates.services.certificate_management import CertificateManagementService

FIRST_PAUSE = renewal_campaigns.LEASE  # it doubles with each attempt
LONGEST_PAUSE = timedelta(hours=6)

log = logging.getLogger(__name__)


def claim_due(service: CertificateManagementService, *, now: datetime) -> list[UUID]:
    """So many as one minute may renew: the most urgent ones, and those of campaigns.

    Each comes again after a pause that doubles, should it not be renewed by then. While
    the CA cannot sign nothing is claimed. After an outage of any length all that is due
    is worked off at this rate, and what ends first comes first.
    """
    try:
        service.authority(now=now)
    except AuthorityUnavailable as error:
        log.error("no renewals: %s", error)
        return []
    urgent = _leased(now, settings.RENEWALS_PER_MINUTE)
    early = renewal_campaigns.advance(now=now)
    return list(dict.fromkeys([*urgent, *early]))


@transaction.atomic
def _leased(now: datetime, limit: int) -> list[UUID]:
    """In SQL, because the ORM has no UPDATE … RETURNING."""
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
                "first": FIRST_PAUSE.total_seconds(),
                "longest": LONGEST_PAUSE.total_seconds(),
            },
        )
        rows = sorted(cursor.fetchall(), key=lambda row: row[1])
    return [pk for pk, _ in rows]
