"""Run benchmarks with `./run bench [--quick | --full] [NAME …]`.

Each prints its ratio to a baseline. Without a name, all run except the long ones. Quick ones,
which include these, show that the benchmarks work; their figures are not to be compared.
"""

import os
import platform
import sys
import time
from importlib import import_module

from benchmarks.size import FULL, QUICK, VARIABLE
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
    "metrics",
    "history",
    "monitoring",
    "configurations",
    "push",
    "rollouts",
    "row_security",
    "bulk",
    "imports",
    "million",
    "search",
    "portal",
)
# They take minutes each. Without them, the others take twenty together.
LONG = ("renewal", "simulation", "security", "growth")
BY_HAND = ("load", "mqtt")  # ten minutes in any case; with Mosquitto


def main() -> None:
    arguments = sys.argv[1:]
    for option in (QUICK, FULL):
        if f"--{option}" in arguments:
            arguments.remove(f"--{option}")
            os.environ[VARIABLE] = option
    is_short = f"--{QUICK}" in sys.argv
    selected_names = arguments or ((*NAMES, *LONG) if is_short else NAMES)
    available = (*NAMES, *LONG, *BY_HAND)
    if unknown := set(selected_names) - set(available):
        sys.exit(f"Unknown benchmark: {', '.join(unknown)}. Available: {', '.join(available)}.")
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with running_servers():
        for name in selected_names:
            reset_data()
            started = time.perf_counter()
            with every_tenant_scope():
                import_module(f"benchmarks.{name}").main()
            print(f"({name}: {time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
