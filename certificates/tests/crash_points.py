"""Run certificate operations in a process that kills itself at a given step.

    python -m certificates.tests.crash_points < requests > outcomes

Each line of the input is a request, a JSON object with `operation`, `device`, `step`, `now`
and the arguments of the operation. Each request runs in its own fork, which sends itself
SIGKILL before the step with the number `step`. Each line of the output is an outcome, a
JSON object with `steps`, the number of steps of a completed operation, or `killed_at`, the
name of the step at which the fork was killed. There is a step before and after each of
these operations: a commit, a statement in autocommit mode, creating, syncing, renaming or
removing a file, and a signature.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import django


class Steps:
    """Count the steps of an operation, and kill the process before a given step."""

    def __init__(self, last: int) -> None:
        self.last, self.done = last, 0

    def take(self, name: str) -> None:
        if self.done == self.last:
            os.write(1, f"{json.dumps({'killed_at': name})}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += 1

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.take(f"before {name}")
            result = function(*args, **kwargs)
            self.take(f"after {name}")
            return result

        return wrapper


def instrument(steps: Steps) -> None:
    """Replace functions with a lasting effect, so that a step is counted before and after each."""
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    from certificates.pki import issuing

    for name in ("fsync", "rename", "unlink"):
        setattr(os, name, steps.around(name, getattr(os, name)))
    original_open = os.open

    def counting_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            return int(steps.around("open", original_open)(path, flags, *args, **kwargs))
        return original_open(path, flags, *args, **kwargs)

    os.open = counting_open
    wrapper: Any = BaseDatabaseWrapper
    wrapper._commit = steps.around("commit", wrapper._commit)
    cursor: Any = CursorWrapper
    execute = cursor.execute

    def counting_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.db.in_atomic_block:
            return execute(self, *args, **kwargs)
        return steps.around("autocommit statement", execute)(self, *args, **kwargs)

    cursor.execute = counting_execute
    module: Any = issuing
    module.device_certificate = steps.around("signature", module.device_certificate)


def run_operation(request: dict[str, Any]) -> None:
    """Run one requested operation. The process may be killed before it returns."""
    from certificates.services.certificate_management import (
        CertificateManagementService,
        certificate_in_use,
    )
    from certificates.services.key_delivery import deliver
    from devices.registry.models import Device
    from tenants.context import every_tenant_scope, tenant_scope

    service, now = (CertificateManagementService(), datetime.fromisoformat(request["now"]))
    with every_tenant_scope():
        device = Device.every_tenant.get(pk=request["device"])
        with tenant_scope(device.tenant_id):
            match request["operation"]:
                case "issue":
                    service.issue_certificate(
                        device=device, csr_pem=request["csr"], key_type="ec", now=now
                    )
                case "renew":
                    service.renew_certificate(certificate_in_use(device), now=now)
                case "revoke":
                    service.revoke_certificate(
                        certificate_in_use(device), reason="keyCompromise", now=now
                    )
                case "deliver":
                    deliver(
                        device=device, form="pem", passphrase="", store=service.ca.store, now=now
                    )


def main() -> None:
    django.setup()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            steps = Steps(request["step"])
            instrument(steps)
            run_operation(request)
            os.write(1, f"{json.dumps({'steps': steps.done})}\n".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            os.write(1, b'{"failed": true}\n')


if __name__ == "__main__":
    main()
