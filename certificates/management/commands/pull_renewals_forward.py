from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from certificates.models import RenewalCampaign
from certificates.services import renewal_campaigns
from core import clock
from tenants.management.operator_command import OperatorCommand, table
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = (
        "Start a renewal campaign, for example after an incident. A campaign renews "
        "certificates at a given rate before they are due: all certificates, or those of "
        "a tenant or device model. Without arguments, list the running campaigns."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", help="Reason, sent to devices with their renewal window.")
        parser.add_argument("--per-minute", type=int, metavar="N", help="Renewals per minute.")
        parser.add_argument("--tenant", metavar="SLUG", help="Only devices of this tenant.")
        parser.add_argument(
            "--model", default="", metavar="MODEL", help="Only devices of this model."
        )
        parser.add_argument(
            "--stop", type=UUID, metavar="ID", help="Stop the campaign with this id."
        )

    def run(
        self,
        reason: str | None,
        per_minute: int | None,
        tenant: str | None,
        model: str,
        stop: UUID | None,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        now = clock.now()
        if stop is not None:
            campaign = renewal_campaigns.stop(stop, now=now)
            return _fields(campaign), f"Stopped: {campaign.reason}."
        if reason is None and per_minute is None:
            return _running()
        if not reason or per_minute is None or per_minute < 1:
            raise CommandError(
                "--reason and --per-minute (at least 1) are both required to start a campaign.",
                returncode=2,
            )
        campaign = renewal_campaigns.pull_forward(
            reason=reason,
            per_minute=per_minute,
            tenant=None if tenant is None else tenant_by_slug(tenant),
            model=model,
            now=now,
        )
        return _fields(campaign), table(_fields(campaign))


def _running() -> tuple[Mapping[str, Any], str]:
    campaigns = [_fields(row) for row in RenewalCampaign.objects.running()]
    text = "\n\n".join(table(fields) for fields in campaigns)
    return {"running": campaigns}, text or "No renewal campaign is running."


def _fields(row: RenewalCampaign) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "reason": row.reason,
        "tenant": row.tenant.slug if row.tenant else None,
        "model": row.model or None,
        "per_minute": row.per_minute,
        "certificates": row.certificates,
        "sent": row.renewed,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
    }
