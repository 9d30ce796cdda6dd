"""Agents for tests, with their state on the disk."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

from provisioning_agent.agent import Agent, Parts
from provisioning_agent.enrollment import Identity
from provisioning_agent.hooks import Hooks
from provisioning_agent.http import Http
from provisioning_agent.keys import FileKey
from provisioning_agent.spool import FileSpool
from provisioning_agent.state import FileStore

IDENTITY = Identity(serial_number="AX3-0042-1187", model="Pi", app_version="1.0.0", os_version="12")


def build_agent(
    folder: Path, url: str, *, token: str = "", hooks: Hooks | None = None, **parts: Any
) -> Agent:
    """Return an agent whose state is in a folder."""
    defaults: dict[str, Any] = {
        "http": Http(url),
        "store": FileStore(folder / "state.json"),
        "key": FileKey(folder / "device.key"),
        "hooks": hooks or Hooks(),
        "spool": FileSpool(folder / "samples"),
        "identity": IDENTITY,
        "measure": lambda: {"cpu_usage": 12.5},
        "updates_folder": folder / "updates",
        "enrollment_token": token,
        "use_push": False,
        "random": Random(1),
        "boot_id": lambda: "boot-1",
    }
    return Agent(Parts(**{**defaults, **parts}))


def run_steps(agent: Agent, count: int = 1) -> None:
    """Run some steps of an agent, and what they have started."""

    async def run() -> None:
        try:
            agent.commands.recover()
            await agent.updates.recover()
            for _ in range(count):
                await agent.step()
                while agent.updates.is_running:
                    await asyncio.sleep(0.01)
        finally:
            agent.stop()
            await agent.parts.http.close()

    asyncio.run(run())
