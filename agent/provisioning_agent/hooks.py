"""The actions of a device: Python functions, or executables in a folder."""

import asyncio
import inspect
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_TIMEOUT = 300.0  # seconds for an executable
END_TIMEOUT = 5.0  # seconds to wait for the end of a killed executable
MAX_REASON = 500  # characters that the server keeps


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a hook ended.

    Attributes:
        ok: False if the hook failed.
        reason: for people: why it failed.
        values: the result, such as `{"app_version": "2.1.0"}`.
    """

    ok: bool = True
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)


Function = Callable[[dict[str, Any]], Any]


class Hooks:
    """The hooks of a device, by name.

    A function gets the input as a dictionary, and may be a coroutine function. It returns None,
    a dictionary with values, or a `HookResult`; an exception means that it failed.

    An executable is the file of this name in the folder. It gets the input as JSON on standard
    input. If it ends with the status 0, a JSON object on standard output has the values.
    Otherwise the last line of standard error is the reason.
    """

    def __init__(self, folder: Path | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.folder, self.timeout = folder, timeout
        self._functions: dict[str, Function] = {}

    def add(self, name: str, function: Function) -> None:
        """Let a function handle a name, such as `configuration` or `command-reboot`."""
        self._functions[name] = function

    def exists(self, name: str) -> bool:
        return name in self._functions or self._executable(name) is not None

    async def run(self, name: str, values: dict[str, Any]) -> HookResult:
        """Run a hook. Without a hook of this name, the result says so."""
        if function := self._functions.get(name):
            return await _call(function, values)
        if path := self._executable(name):
            return await self._execute(path, values)
        return HookResult(ok=False, reason=f"This device has no hook {name}.")

    def _executable(self, name: str) -> Path | None:
        if self.folder is None or "/" in name:
            return None
        path = self.folder / name
        return path if os.access(path, os.X_OK) and path.is_file() else None

    async def _execute(self, path: Path, values: dict[str, Any]) -> HookResult:
        try:
            process = await asyncio.create_subprocess_exec(
                str(path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # so that its children can be ended with it
            )
        except OSError as error:
            return HookResult(ok=False, reason=f"{path.name}: {error.strerror}")
        try:
            async with asyncio.timeout(self.timeout):
                output, errors = await process.communicate(json.dumps(values).encode())
        except TimeoutError:
            await _end(process)
            return HookResult(ok=False, reason=f"{path.name} took longer than {self.timeout:g} s.")
        except asyncio.CancelledError:
            await _end(process)
            raise
        if process.returncode != 0:
            lines = errors.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"{path.name} ended with {process.returncode}."
            return HookResult(False, reason[:MAX_REASON], _json_object(output))
        return HookResult(values=_json_object(output))


async def _call(function: Function, values: dict[str, Any]) -> HookResult:
    try:
        result = function(values)
        if inspect.isawaitable(result):
            result = await result
    except Exception as error:  # a hook is foreign code
        return HookResult(ok=False, reason=(str(error) or type(error).__name__)[:MAX_REASON])
    if isinstance(result, HookResult):
        return result
    return HookResult(values=result if isinstance(result, dict) else {})


async def _end(process: asyncio.subprocess.Process) -> None:
    """End an executable with its children, and close its pipes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a child that has left the session can hold the pipes open
        async with asyncio.timeout(END_TIMEOUT):
            await process.communicate()


def _json_object(output: bytes) -> dict[str, Any]:
    try:
        value = json.loads(output) if output.strip() else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
