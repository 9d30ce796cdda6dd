from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.key_reencryption import reencrypt_keys
from tenants.management.operator_command import CommandFailed, OperatorCommand


class Command(OperatorCommand):
    help = "Encrypt all stored private keys with the current KEY_ENCRYPTION_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        if not any(
            (
                settings.KEY_ENCRYPTION_KEY,
                settings.KEY_ENCRYPTION_KEY_FALLBACKS,
                settings.CA_KEY_PASSPHRASE,
            )
        ):
            raise CommandError("KEY_ENCRYPTION_KEY is not set in this environment.")
        rewritten = 0
        failed: list[str] = []
        for item in reencrypt_keys(DeviceCertificatesService().store):
            if item.error is None:
                rewritten += 1
                continue
            failed.append(str(item.path))
            self.stderr.write(f"{item.path}: {item.error}")
        result = {"rewritten": rewritten, "refused": failed}
        if failed:
            raise CommandFailed(f"{rewritten} keys rewritten, {len(failed)} failed.", result)
        return result, f"{rewritten} keys rewritten. All keys are up to date."
