"""Runs a verb of the authority in a process that kills itself at a step of it.

    python -m certificates.tests.crash_points < orders > outcomes

An order is one JSON object a line: `verb`, `device`, `step`, and what the verb needs.
Each is done by a fork of its own, which sends itself SIGKILL before the step with that
number. The outcome says how many steps there were, or at which one it died. A step is
a commit, a file that is opened, synced, renamed or removed, or a signature: the moment
before it, and the moment after.
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
    """Counts the steps, and dies at one of them."""

    def __init__(self, last: int) -> None:
        self.last, self.done = last, 0
        self.names: list[str] = []

    def take(self, name: str) -> None:
        if self.done == self.last:
            os.write(1, f"{json.dumps({'died': name})}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += 1

    def around(self, name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.take(f"before {name}")
            done = verb(*args, **kwargs)
            self.take(f"after {name}")
            return done

        return watched


def watch(steps: Steps) -> None:
    """Put a step around all that leaves a trace."""
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    from certificates.pki import issuing

    for name in ("fsync", "rename", "unlink"):
        setattr(os, name, steps.around(name, getattr(os, name)))
    opened = os.open

    def open_new(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            return int(steps.around("open", opened)(path, flags, *args, **kwargs))
        return opened(path, flags, *args, **kwargs)

    os.open = open_new
    wrapper: Any = BaseDatabaseWrapper
    wrapper._commit = steps.around("commit", wrapper._commit)
    cursor: Any = CursorWrapper
    execute = cursor.execute

    def execute_one(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.db.in_atomic_block:
            return execute(self, *args, **kwargs)
        return steps.around("a statement of its own", execute)(self, *args, **kwargs)

    cursor.execute = execute_one
    made: Any = issuing
    made.device_certificate = steps.around("signature", made.device_certificate)


def obey(order: dict[str, Any]) -> None:
    from certificates.services.certificate_management import (
        CertificateManagementService,
        certificate_in_use,
    )
    from certificates.services.key_delivery import deliver
    from devices.registry.models import Device
    from tenants.context import every_tenant_scope, tenant_scope

    service, now = CertificateManagementService(), datetime.fromisoformat(order["now"])
    with every_tenant_scope():
        device = Device.every_tenant.get(pk=order["device"])
        with tenant_scope(device.tenant_id):
            match order["verb"]:
                case "issue":
                    service.issue_certificate(
                        device=device, csr_pem=order["csr"], key_type="ec", now=now
                    )
                case "renew":
                    service.renew_certificate(certificate_in_use(device), now=now)
                case "revoke":
                    service.revoke_certificate(
                        certificate_in_use(device), reason="keyCompromise", now=now
                    )
                case "deliver":
                    deliver(
                        device=device,
                        form="pem",
                        passphrase="",
                        store=service.ca.store,
                        now=now,
                    )


def main() -> None:
    django.setup()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            steps = Steps(order["step"])
            watch(steps)
            obey(order)
            os.write(1, f"{json.dumps({'steps': steps.done})}\n".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            os.write(1, b'{"failed": true}\n')


if __name__ == "__main__":
    main()
