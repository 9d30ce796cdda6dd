"""Generated clients compile, and their calls are answered by a running server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accounts.services.tokens import issue_api_token
from certificates.tests.keys import ec_key, request_for
from devices.configurations.tests.documents import save_for_tenant
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.factories import DeviceFactory
from devices.remote_control.models import CommandHistory
from devices.updates.models import UpdateStatus
from devices.updates.tests.rollouts import create_rollout_rows
from events.asyncapi import asyncapi_document
from provisioning.api import document
from provisioning.tests.clients import tools
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = [*tools.MARKS, pytest.mark.django_db(transaction=True)]
Client = Callable[[Path], tools.Command]
CLIENTS = [
    tools.kotlin,
    tools.java,
    tools.typescript,
    tools.openapi_generator_python,
    tools.openapi_python_client,
]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_generated_client_compiles_and_makes_twelve_calls(
    client: Client, tmp_path: Path, live_server: Any, tenant: Tenant, authority: Path
) -> None:
    now = datetime.now(UTC)
    owner = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    DeviceFactory.create(tenant=tenant, model="Model A")
    save_for_tenant(tenant, {"volume": 5}, now=now)
    with tenant_scope(tenant.pk):
        environment = {
            "BASE_URL": live_server.url,
            "MEMBER_TOKEN": issue_api_token(membership=owner, name="t", now=now)[1],
            "ENROLLMENT_TOKEN": create_enrollment_token(name="t", now=now)[1],
            "CSR": request_for(ec_key()),
            "SERIAL_NUMBER": "AX3-0042-1187",
        }
    command = client(tmp_path)

    output = tools.run(*command, "register", cwd=tmp_path, environment=environment)
    device_id, token = output.split()
    device = Device.every_tenant.get(pk=device_id)
    _, _, rollout, _ = create_rollout_rows(device, now, by=owner.user)
    environment |= {"DEVICE_ID": device_id, "DEVICE_TOKEN": token, "ROLLOUT_ID": str(rollout.pk)}
    output = tools.run(*command, "call", cwd=tmp_path, environment=environment)

    assert output.strip().endswith("done")
    assert UpdateStatus.every_tenant.get(device=device).progress == 50
    assert CommandHistory.every_tenant.get(device=device).status == "succeeded"


@pytest.mark.parametrize("linter", ["redocly", "spectral"])
def test_the_openapi_document_passes_a_linter(linter: str, tmp_path: Path) -> None:
    tools.install_node_modules()
    rules = document.PATH.with_name(f"{linter}.yaml")
    options: dict[str, tools.Command] = {
        "redocly": ["--config", rules, "--max-problems", "20"],
        "spectral": ["--ruleset", rules, "--fail-severity", "hint"],
    }
    output = tools.run(
        tools.node_program(linter), "lint", *options[linter], document.PATH, cwd=tmp_path
    )

    assert "warning" not in output.replace("Deprecation warning", "")


def test_the_asyncapi_document_passes_a_linter(tmp_path: Path) -> None:
    tools.install_node_modules()
    asyncapi, rules = tmp_path / "asyncapi.json", tmp_path / "rules.yaml"
    asyncapi.write_text(json.dumps(asyncapi_document()))
    # Who operates the server is the contact, and offers the servers.
    # 3.0 is what tools read today.
    off = ["info-contact", "info-license", "servers", "latest-version"]
    switched_off = {f"asyncapi-{name}": "off" for name in off}
    rules.write_text(json.dumps({"extends": ["spectral:asyncapi"], "rules": switched_off}))
    options: tools.Command = ["--ruleset", rules, "--fail-severity", "hint"]

    tools.run(tools.node_program("spectral"), "lint", *options, asyncapi, cwd=tmp_path)
