"""`./run lint`: style, types, import contracts, migrations, the deployment check."""

import os
import subprocess
import sys
import time
from pathlib import Path

from provisioning.embedded import endpoints, servers
from provisioning.var import BASE

SCRIPTS = Path(sys.executable).parent
MANAGE = (sys.executable, str(BASE / "manage.py"))
PRODUCTION = {
    "PUBLIC_URL": "https://devices.example.com",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "SECRET_KEY": "the deployment check wants a long and random looking key: 0123456789",
}
CHECKS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "ruff check": ((str(SCRIPTS / "ruff"), "check", "."), {}),
    "ruff format": ((str(SCRIPTS / "ruff"), "format", "--check", "."), {}),
    "bandit": ((str(SCRIPTS / "bandit"), "-q", "-ll", "-r", ".", "-c", "pyproject.toml"), {}),
    "mypy": ((str(SCRIPTS / "mypy"), "."), {}),
    "import contracts": ((str(SCRIPTS / "lint-imports"), "--no-logo"), {}),
    "migrations": ((*MANAGE, "makemigrations", "--check", "--dry-run"), {}),
    "deployment": ((*MANAGE, "check", "--deploy", "--fail-level", "WARNING"), PRODUCTION),
}


def main() -> None:
    var = BASE / "var" / "test"
    os.environ["VAR_DIR"] = str(var)
    os.environ["PYTHONPATH"] = str(BASE / "agent")  # for the import contracts
    failed = []
    with servers.running(var, durable=False) as embedded:
        if endpoints.missing_servers(os.environ):
            os.environ.update(embedded.environment)
        for name, (command, environment) in CHECKS.items():
            started = time.monotonic()
            result = subprocess.run(
                command, cwd=BASE, env={**os.environ, **environment}, check=False
            )
            status = "passed" if result.returncode == 0 else "FAILED"
            print(f"{name}: {status} in {time.monotonic() - started:.0f} s", flush=True)
            if result.returncode != 0:
                failed.append(name)
    if failed:
        sys.exit(f"lint: {', '.join(failed)} failed.")


if __name__ == "__main__":
    main()
