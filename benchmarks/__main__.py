"""Run benchmarks with `./run bench [NAME …]`. Each prints its ratio to a baseline."""

import platform
import sys
from importlib import import_module

from benchmarks.stage import reset_data, running_servers
from tenants.context import every_tenant_scope

NAMES = (
    "sweep",
    "connect",
    "fast",
    "registration",
    "clones",
    "issuing",
    "enrollment",
    "ocsp",
    "revocation",
    "keys",
    "renewal",
    "metrics",
    "history",
    "monitoring",
    "configurations",
    "simulation",
    "push",
    "rollouts",
    "row_security",
    "security",
    "million",
    "growth",
)
BY_HAND = ("load",)  # it takes ten minutes


def main() -> None:
    selected_names = sys.argv[1:] or NAMES
    if unknown := set(selected_names) - {*NAMES, *BY_HAND}:
        sys.exit(
            f"Unknown benchmark: {', '.join(unknown)}. Available: {', '.join((*NAMES, *BY_HAND))}."
        )
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with running_servers():
        for name in selected_names:
            reset_data()
            with every_tenant_scope():
                import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
