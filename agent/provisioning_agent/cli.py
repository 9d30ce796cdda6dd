"""The command `provisioning-agent`."""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

from provisioning_agent.agent import Agent, Parts
from provisioning_agent.enrollment import Refused, pair
from provisioning_agent.hooks import Hooks
from provisioning_agent.http import Http
from provisioning_agent.keys import KeyUnavailable
from provisioning_agent.measurements import LinuxMeasurements
from provisioning_agent.options import DEFAULT_FILE, Options, OptionsInvalid, read_options
from provisioning_agent.spool import FileSpool
from provisioning_agent.state import FileStore

log = logging.getLogger("provisioning_agent")


class LoggedHttp(Http):
    """Requests that are logged."""

    def observe(self, kind: str, status: int, seconds: float) -> None:
        level = logging.DEBUG if 200 <= status < 400 else logging.WARNING
        log.log(level, "%s: %s", kind, status or "no response")


class AlreadyRunning(Exception):
    """Another process uses the state folder."""


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        format="%(message)s", level=logging.DEBUG if options.verbose else logging.INFO
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    try:
        options.run(read_options(options.config), options)
    except (OptionsInvalid, KeyUnavailable, Refused, AlreadyRunning, OSError) as error:
        sys.exit(f"provisioning-agent: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provisioning-agent")
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, help="%(default)s")
    parser.add_argument("--verbose", action="store_true", help="log every request")
    commands = parser.add_subparsers(required=True)
    enroll = commands.add_parser("enroll", help="register this device, or pair it with a code")
    enroll.add_argument("--pair", action="store_true", help="show a code for a member to enter")
    enroll.set_defaults(run=_enroll)
    run = commands.add_parser("run", help="run until stopped; enroll first if necessary")
    run.set_defaults(run=_run)
    status = commands.add_parser("status", help="show the state of this device")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)
    return parser


def build_agent(options: Options) -> Agent:
    """Return the agent of this machine."""
    folder = options.state_folder
    return Agent(
        Parts(
            http=LoggedHttp(options.url, ca_file=options.ca_file or None),
            store=FileStore(folder / "state.json"),
            key=options.device_key(),
            hooks=Hooks(options.hooks_folder, timeout=options.hook_timeout),
            spool=FileSpool(folder / "samples"),
            identity=options.identity,
            measure=LinuxMeasurements(storage=folder).sample,
            updates_folder=folder / "updates",
            enrollment_token=options.enrollment_token,
            use_push=options.use_push,
            sample_interval=options.sample_interval,
            random=SystemRandom(),
        )
    )


def _enroll(options: Options, arguments: argparse.Namespace) -> None:
    with _alone(options.state_folder):
        agent = build_agent(options)
        if agent.is_enrolled:
            print(f"already enrolled as device {agent.session.state.device_id}")
            return
        asyncio.run(_enroll_once(agent, use_code=arguments.pair))
        print(f"enrolled as device {agent.session.state.device_id}")


async def _enroll_once(agent: Agent, *, use_code: bool) -> None:
    """Enroll. Raises Refused: the server does not accept the device now."""
    try:
        if use_code:
            await pair(agent.session, await agent.current_identity(), show=_show_code)
        elif await agent.enroll():
            raise Refused("The server has not registered this device. See the log above.")
    finally:
        await agent.parts.http.close()


def _show_code(pairing: dict[str, Any]) -> None:
    address = pairing["verification_uri"]
    print(f"Enter the code {pairing['user_code']} at {address}", flush=True)


def _run(options: Options, arguments: argparse.Namespace) -> None:
    with _alone(options.state_folder):
        agent = build_agent(options)
        log.info("device %s at %s", agent.session.state.device_id or "(new)", options.url)
        asyncio.run(_run_until_stopped(agent))


async def _run_until_stopped(agent: Agent) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await agent.run()
    finally:
        await agent.parts.http.close()


def _status(options: Options, arguments: argparse.Namespace) -> None:
    state = FileStore(options.state_folder / "state.json").state
    samples = len(FileSpool(options.state_folder / "samples").oldest())
    values: dict[str, Any] = {
        "server": options.url,
        "device_id": state.device_id or None,
        "enrolled": bool(state.token),
        "certificate": state.certificate_serial_number or None,
        "configuration": state.configuration_version or None,
        "installed_version": state.installed_version or None,
        "waiting_messages": len(state.outbox),
        "waiting_samples": samples,
    }
    if arguments.json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a lock on the state folder. Raises AlreadyRunning: another process has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"another process uses {folder}.") from error
        yield
