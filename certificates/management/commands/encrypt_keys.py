from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.key_reencryption import closed_anew
from tenants.management.operator_command import OperatorCommand, Refused


class Command(OperatorCommand):
    help = "Encrypt the private keys that lie here with the present KEY_ENCRYPTION_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        if not any(
            (
                settings.KEY_ENCRYPTION_KEY,
                settings.KEY_ENCRYPTION_KEY_FALLBACKS,
                settings.CA_KEY_PASSPHRASE,
            )
        ):
            raise CommandError("KEY_ENCRYPTION_KEY is not set here.")
        done, refused = 0, []
        for outcome in closed_anew(DeviceCertificatesService().store):
            if outcome.refusal is None:
                done += 1
                continue
            refused.append(str(outcome.path))
            self.stderr.write(f"{outcome.path}: {outcome.refusal}")
        made = {"rewritten": done, "refused": refused}
        if refused:
            raise Refused(f"{done} keys rewritten, {len(refused)} refused.", made)
        return made, f"{done} keys rewritten; the others were so already."
