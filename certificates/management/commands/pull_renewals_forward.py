from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone

from certificates.models import RenewalCampaign
from certificates.services import renewal_campaigns
from tenants.management.operator_command import OperatorCommand, table
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = (
        "After an incident: renew all certificates, a tenant's or a model's, before "
        "their time, so many a minute. Without arguments: list what is running."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", help="Said to devices with their window.")
        parser.add_argument("--per-minute", type=int, metavar="N")
        parser.add_argument("--tenant", metavar="SLUG")
        parser.add_argument("--model", default="", metavar="MODEL")
        parser.add_argument("--stop", type=UUID, metavar="ID")

    def run(
        self,
        reason: str | None,
        per_minute: int | None,
        tenant: str | None,
        model: str,
        stop: UUID | None,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        now = timezone.now()
        if stop is not None:
            stopped = renewal_campaigns.stop(stop, now=now)
            return _about(stopped), f"Stopped: {stopped.reason}."
        if reason is None and per_minute is None:
            return _running()
        if not reason or per_minute is None or per_minute < 1:
            raise CommandError(
                "--reason and --per-minute (at least 1) go together.", returncode=2
            )
        begun = renewal_campaigns.pull_forward(
            reason=reason,
            per_minute=per_minute,
            tenant=None if tenant is None else tenant_by_slug(tenant),
            model=model,
            now=now,
        )
        return _about(begun), table(_about(begun))


def _running() -> tuple[Mapping[str, Any], str]:
    found = [_about(row) for row in RenewalCampaign.objects.running()]
    text = "\n\n".join(table(about) for about in found)
    return {"running": found}, text or "No renewals are pulled forward."


def _about(row: RenewalCampaign) -> dict[str, Any]:
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
