"""The Debian package installs, and its command runs with Debian's Python and libraries."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from provisioning.tests.clients.tools import REQUIRED, Command, run
from provisioning.var import BASE
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(not REQUIRED and not shutil.which("dpkg-deb"), reason="no dpkg-deb here"),
]
PYTHON = Path("/usr/bin/python3")
NEEDED = [
    str(PYTHON),
    "-c",
    "import sys, httpx, cryptography; sys.exit(sys.version_info < (3, 11))",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of the package, unpacked."""
    package = run(sys.executable, BASE / "agent" / "build_deb.py", tmp_path, cwd=tmp_path).strip()
    root = tmp_path / "root"
    run("dpkg-deb", "--extract", package, root, cwd=tmp_path)
    return root


def test_the_package_contains_the_agent_its_service_and_its_options(root: Path) -> None:
    unit = root / "usr/lib/systemd/system/provisioning-agent.service"
    options = root / "etc/provisioning-agent/agent.toml"

    assert "ExecStart=/usr/bin/provisioning-agent run" in unit.read_text()
    assert options.stat().st_mode & 0o777 == 0o600  # it will have a token
    assert not list(root.rglob("tests"))


@pytest.mark.django_db(transaction=True)
def test_the_installed_command_enrolls_with_the_libraries_of_debian(
    root: Path, tenant: Tenant, live_server: Any, tmp_path: Path
) -> None:
    if subprocess.run(NEEDED, capture_output=True).returncode != 0 and not REQUIRED:
        pytest.skip("Debian's Python has no httpx here")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="agents", now=datetime.now(UTC))
    options = tmp_path / "agent.toml"
    options.write_text(
        f'url = "{live_server.url}"\nenrollment_token = "{token}"\n'
        f'state_folder = "{tmp_path / "state"}"\n[identity]\nserial_number = "AX3-0042-1187"\n'
    )
    environment = {
        "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"),
        "PATH": os.environ["PATH"],
    }
    command: Command = [PYTHON, root / "usr/bin/provisioning-agent", "--config", options]

    run(*command, "enroll", cwd=tmp_path, environment=environment)
    status = run(*command, "status", "--json", cwd=tmp_path, environment=environment)

    assert json.loads(status)["device_id"] == str(Device.every_tenant.get().pk)
