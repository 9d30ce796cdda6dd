import dataclasses
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from events.services import audit_log
from tenants.management.operator_command import CommandFailed, OperatorCommand
from tenants.queries import tenant_by_slug

MAX_LISTED = 20


class Command(OperatorCommand):
    help = (
        "Verify the hash chains of the audit log and list all breaks. A link of a chain is"
        " called a seal."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--tenant", metavar="SLUG", help="Verify only the chain of this tenant."
        )

    def run(self, tenant: str | None, **options: Any) -> tuple[Mapping[str, Any], str]:
        if tenant is None:
            verdict = audit_log.verify()
        else:
            verdict = audit_log.verify(tenant_id=tenant_by_slug(tenant).pk, every=False)
        result = dataclasses.asdict(verdict)
        if verdict.breaks:
            lines = "\n".join(self.line(item) for item in verdict.breaks[:MAX_LISTED])
            raise CommandFailed(f"{len(verdict.breaks)} breaks found.\n{lines}", result)
        return result, (
            f"{verdict.events} events in {verdict.seals} seals are unchanged."
            f" {verdict.unsealed} events are not in a seal yet."
        )

    @staticmethod
    def line(item: audit_log.Break) -> str:
        tenant = f"tenant {item.tenant_id}" if item.tenant_id else "no tenant"
        seal = f", seal {item.seal}" if item.seal is not None else ""
        event = f", event {item.event_id}" if item.event_id is not None else ""
        return f"{tenant}{seal}{event}: {item.what}"
