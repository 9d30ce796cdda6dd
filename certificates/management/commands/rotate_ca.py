from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from certificates.errors import NotReadyForRotation
from certificates.management.key_arguments import add_key_arguments, read_key_arguments
from certificates.services import renewal_campaigns, rotation
from certificates.services.authority_creation import load_key_holder
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from tenants.management.operator_command import OperatorCommand, table

STEPS = ("status", "prepare", "switch", "move", "retire")


class Command(OperatorCommand):
    help = (
        "Replace the signing CA in steps: prepare a new one, switch to it, move the "
        "devices to it, retire the old one. Without a step, show the state of the "
        "rotation and the next step."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("step", nargs="?", choices=STEPS, default="status")
        add_key_arguments(parser)
        parser.add_argument(
            "--per-minute", type=int, metavar="N", help="For move: renewals per minute."
        )
        parser.add_argument(
            "--revoke-superseded",
            action="store_true",
            help=(
                "For retire: revoke the superseded certificates of the old CA instead of "
                "waiting until they expire."
            ),
        )
        parser.add_argument(
            "--revoke-unconfirmed",
            action="store_true",
            help=("For retire: also revoke certificates of devices that did not fetch a new one."),
        )
        parser.add_argument(
            "--destroy-key",
            action="store_true",
            help="For retire: remove the key file of the old CA.",
        )

    def run(self, step: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        self.service = CertificateManagementService()
        self.now = clock.now()
        getattr(self, f"_{step}")(**options)
        return _status_report()

    def _status(self, **options: Any) -> None:
        self.service.authority(now=self.now)

    def _prepare(
        self,
        key: Path | None,
        token_key: str | None,
        chain: Path | None,
        key_type: Any,
        with_root: bool,
        **options: Any,
    ) -> None:
        arguments = read_key_arguments(key, token_key, chain, with_root=with_root)
        holder = None
        if arguments.key is not None or arguments.address is not None:
            holder = load_key_holder(key=arguments.key, address=arguments.address)
        rotation.prepare(
            self.service.ca,
            key_type=key_type,
            with_root=with_root,
            holder=holder,
            chain=arguments.chain,
            now=self.now,
        )

    def _switch(self, **options: Any) -> None:
        rotation.switch(self.service.ca, now=self.now)

    def _move(self, per_minute: int | None, **options: Any) -> None:
        if per_minute is None or per_minute < 1:
            raise CommandError("move requires --per-minute N (at least 1).", returncode=2)
        for authority in self._former():
            renewal_campaigns.pull_forward(
                reason="a new certificate authority",
                per_minute=per_minute,
                authority_key_id=authority.key_identifier,
                now=self.now,
            )

    def _retire(
        self, revoke_superseded: bool, revoke_unconfirmed: bool, destroy_key: bool, **options: Any
    ) -> None:
        former = rotation.former_authorities()
        for authority in former:
            if revoke_superseded or revoke_unconfirmed:
                total = rotation.replaced_certificates(
                    authority, unconfirmed=revoke_unconfirmed
                ).count()
                revoked = rotation.revoke_and_retire(
                    authority, self.service, unconfirmed=revoke_unconfirmed, now=self.now
                )
                for _ in self.with_progress(revoked, total):
                    pass
            else:
                rotation.retire(key_identifier=authority.key_identifier, now=self.now)
        # This includes the keys of CAs that an earlier run retired.
        destroyed = destroy_key and rotation.destroy_retired_keys(self.service.ca)
        if not former and not destroyed:
            raise NotReadyForRotation("There is no former CA.")

    def _former(self) -> list[Any]:
        former = rotation.former_authorities()
        if not former:
            raise NotReadyForRotation("There is no former CA.")
        return former


def _status_report() -> tuple[Mapping[str, Any], str]:
    usages = rotation.authority_usages()
    step, sentence = rotation.next_step(usages)
    rows = [
        {
            "subject": usage.authority.subject,
            "key_identifier": usage.authority.key_identifier,
            "status": usage.authority.status,
            "not_after": usage.authority.not_after,
            "in_use": usage.in_use,
            "handed_over": usage.handed_over,
            "superseded": usage.superseded,
        }
        for usage in usages
    ]
    text = "\n\n".join([*(table(row) for row in rows), sentence])
    return {"authorities": rows, "next_step": step, "sentence": sentence}, text
