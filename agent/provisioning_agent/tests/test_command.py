"""The command `provisioning-agent`."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devices.registry.models import Device
from devices.registry.services import pairing
from devices.registry.services.credentials import create_enrollment_token
from provisioning.var import BASE
from provisioning_agent.options import machine_serial_number
from tenants.context import tenant_scope
from tenants.models import Tenant

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BASE / "agent")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def command_line(file: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "provisioning_agent", "--config", str(file), *arguments]


def run(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = command_line(file, *arguments)
    return subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def write(file: Path, text: str) -> None:
    file.write_text(f'state_folder = "{file.parent / "state"}"\n{text}')


@pytest.mark.django_db(transaction=True)
def test_enroll_registers_the_device_once(file: Path, tenant: Tenant, live_server: Any) -> None:
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="agents", now=datetime.now(UTC))
    write(
        file,
        f'url = "{live_server.url}"\nenrollment_token = "{token}"\n'
        '[identity]\nserial_number = "AX3-0042-1187"\n',
    )

    first, second = run(file, "enroll"), run(file, "enroll")

    device = Device.every_tenant.get()
    assert (first.returncode, first.stdout) == (0, f"enrolled as device {device.pk}\n")
    assert second.stdout == f"already enrolled as device {device.pk}\n"
    status = json.loads(run(file, "status", "--json").stdout)
    assert (status["device_id"], status["enrolled"]) == (str(device.pk), True)


@pytest.mark.django_db(transaction=True)
def test_enroll_with_a_code_waits_for_the_approval_of_a_member(
    file: Path, tenant: Tenant, live_server: Any, settings: Any
) -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    write(file, f'url = "{live_server.url}"\n[identity]\nserial_number = "AX3-0042-1187"\n')
    process = subprocess.Popen(
        command_line(file, "enroll", "--pair"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None

    code = process.stdout.readline().split()[3]
    now = datetime.now(UTC)
    found = pairing.find(code, now=now)
    with tenant_scope(tenant.pk):
        device = pairing.approve(pairing_id=found.pk, name="Lobby", tags=[], now=now)
    output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (0, f"enrolled as device {device.pk}\n")


def test_status_of_a_new_device_is_readable(file: Path) -> None:
    write(file, 'url = "https://devices.example.com"\n')

    done = run(file, "status")

    assert done.stdout.splitlines()[:3] == [
        "server: https://devices.example.com",
        "device id: -",
        "enrolled: False",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "url must be an address"),
        ('url = "devices.example.com"\n', "url must be an address"),
        ('url = "https://x.example"\ncolour = 1\n', "unknown option colour"),
        ('url = "https://x.example"\n[identity]\ncolour = "x"\n', "unknown option colour"),
        ('url = "https://x.example"\n[key]\nkind = "usb"\n', "usb is not file or pkcs11"),
        ("url = \n", "Invalid value"),
    ],
)
def test_a_wrong_option_is_named(file: Path, text: str, error: str) -> None:
    write(file, text)

    done = run(file, "run")

    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_named(file: Path) -> None:
    done = run(file, "status")

    assert done.returncode == 1
    assert f"{file} does not exist" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("proc/device-tree/serial-number", "10000000abcdef01\0", "10000000abcdef01"),
        ("sys/class/dmi/id/product_serial", "VM-1234-5678\n", "VM-1234-5678"),
        ("etc/machine-id", "0123456789abcdef\n", "machine-"),
        ("etc/hostname", "x", ""),
    ],
)
def test_the_serial_number_is_that_of_the_machine(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)

    serial_number = machine_serial_number(tmp_path / "root")

    assert serial_number.startswith(expected)
    assert "0123456789abcdef" not in serial_number
