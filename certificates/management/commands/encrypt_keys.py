from collections.abc import Mapping
from typing import Any

from certificates.device_certificates import DeviceCertificatesService
from certificates.key_renewal import closed_anew
from tenants.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Encrypt the private keys that lie here with the present KEY_ENCRYPTION_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        done = 0
        for path in closed_anew(DeviceCertificatesService().store):
            done += 1
            if self.stderr.isatty():
                self.stderr.write(f"\r{path.name}", ending="")
        return {
            "rewritten": done
        }, f"{done} keys rewritten; the others were so already."
