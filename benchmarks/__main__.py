"""`./run bench [NAME …]`: each benchmark prints its ratio to a bare baseline."""

import platform
import sys
from importlib import import_module

from benchmarks.stage import fresh, staged
from tenants.context import every_tenant_scope

NAMES = (
    *("sweep", "connect", "registration", "issuing", "enrollment", "ocsp"),
    *("revocation", "keys", "renewal", "metrics", "history", "monitoring"),
    *("configurations", "simulation", "push", "rollouts"),
    *("wall", "million"),
)


def main() -> None:
    chosen = sys.argv[1:] or NAMES
    if unknown := set(chosen) - set(NAMES):
        sys.exit(f"There is no benchmark {', '.join(unknown)}: {', '.join(NAMES)}.")
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with staged():
        for name in chosen:
            fresh()
            with every_tenant_scope():
                import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
