import dataclasses
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from events.services import audit_log
from tenants.management.operator_command import OperatorCommand, Refused
from tenants.queries import tenant_by_slug

MOST_SHOWN = 20


class Command(OperatorCommand):
    help = "Go through the hash chains of the audit log and say where one breaks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--tenant", metavar="SLUG", help="Only this one's chain.")

    def run(self, tenant: str | None, **options: Any) -> tuple[Mapping[str, Any], str]:
        if tenant is None:
            verdict = audit_log.verify()
        else:
            verdict = audit_log.verify(tenant_id=tenant_by_slug(tenant).pk, every=False)
        made = dataclasses.asdict(verdict)
        if verdict.breaks:
            shown = "\n".join(self.line(found) for found in verdict.breaks[:MOST_SHOWN])
            raise Refused(f"{len(verdict.breaks)} breaks found.\n{shown}", made)
        return made, (
            f"{verdict.events} events in {verdict.seals} seals are as they were written;"
            f" {verdict.unsealed} wait to be sealed."
        )

    @staticmethod
    def line(found: audit_log.Break) -> str:
        whose = f"tenant {found.tenant_id}" if found.tenant_id else "no tenant"
        seal = f", seal {found.seal}" if found.seal is not None else ""
        event = f", event {found.event_id}" if found.event_id is not None else ""
        return f"{whose}{seal}{event}: {found.what}"
