from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from certificates.errors import NotReadyForRotation
from certificates.management.key_arguments import add_key_arguments, given_key
from certificates.services import renewal_campaigns, rotation
from certificates.services.authority_creation import holder_of
from certificates.services.certificate_management import CertificateManagementService
from tenants.management.operator_command import OperatorCommand, table

STEPS = ("status", "prepare", "switch", "move", "retire")


class Command(OperatorCommand):
    help = (
        "Put a new CA in the place of the one that signs, step by step: prepare it, "
        "switch to it, move the devices, retire the old one. Without a step: say where "
        "it stands and what comes next."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("step", nargs="?", choices=STEPS, default="status")
        add_key_arguments(parser)
        parser.add_argument("--per-minute", type=int, metavar="N", help="of `move`")
        parser.add_argument(
            "--revoke-superseded",
            action="store_true",
            help="of `retire`: do not wait until they have ended",
        )
        parser.add_argument(
            "--revoke-unconfirmed",
            action="store_true",
            help="of `retire`: those too whose device has not fetched its new one",
        )
        parser.add_argument(
            "--destroy-key", action="store_true", help="of `retire`: remove its file"
        )

    def run(self, step: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        self.service = CertificateManagementService()
        self.now = timezone.now()
        getattr(self, f"_{step}")(**options)
        return _told()

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
        given = given_key(key, token_key, chain, with_root=with_root)
        holder = None
        if given.key is not None or given.address is not None:
            holder = holder_of(key=given.key, address=given.address)
        rotation.prepare(
            self.service.ca,
            key_type=key_type,
            with_root=with_root,
            holder=holder,
            chain=given.chain,
            now=self.now,
        )

    def _switch(self, **options: Any) -> None:
        rotation.switch(self.service.ca, now=self.now)

    def _move(self, per_minute: int | None, **options: Any) -> None:
        if per_minute is None or per_minute < 1:
            raise CommandError("move wants --per-minute N.", returncode=2)
        for authority in self._former():
            renewal_campaigns.pull_forward(
                reason="a new certificate authority",
                per_minute=per_minute,
                authority_key_id=authority.key_identifier,
                now=self.now,
            )

    def _retire(
        self,
        revoke_superseded: bool,
        revoke_unconfirmed: bool,
        destroy_key: bool,
        **options: Any,
    ) -> None:
        former = rotation.former()
        for authority in former:
            if revoke_superseded or revoke_unconfirmed:
                total = rotation.unneeded(
                    authority, unconfirmed=revoke_unconfirmed
                ).count()
                ended = rotation.end_former(
                    authority,
                    self.service,
                    unconfirmed=revoke_unconfirmed,
                    now=self.now,
                )
                for _ in self.with_progress(ended, total):
                    pass
            else:
                rotation.retire(key_identifier=authority.key_identifier, now=self.now)
        # With the keys of those that an earlier run has retired.
        destroyed = destroy_key and rotation.destroy_retired_keys(self.service.ca)
        if not former and not destroyed:
            raise NotReadyForRotation("There is no former CA: nothing to do.")

    def _former(self) -> list[Any]:
        former = rotation.former()
        if not former:
            raise NotReadyForRotation("There is no former CA: nothing to do.")
        return former


def _told() -> tuple[Mapping[str, Any], str]:
    standing = rotation.standings()
    step, sentence = rotation.next_step(standing)
    found = [
        {
            "subject": item.authority.subject,
            "key_identifier": item.authority.key_identifier,
            "status": item.authority.status,
            "not_after": item.authority.not_after,
            "in_use": item.in_use,
            "handed_over": item.handed_over,
            "superseded": item.superseded,
        }
        for item in standing
    ]
    text = "\n\n".join([*(table(about) for about in found), sentence])
    return {"authorities": found, "next_step": step, "sentence": sentence}, text
