"""Child processes that die with their parent, and a supervisor that keeps them alive."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1  # prctl(2)
LONGEST_BACK_OFF = 15.0  # seconds
STEADY = 30.0  # seconds alone that make a process count as healthy again

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to keep running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None  # whom to become; only root can
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGTERM  # sent when the parent dies
    grace: float = 6.0  # seconds between the stop signal and SIGKILL
    ready: Callable[[], bool] | None = None


def start(program: Program, *, quiet: bool = False) -> subprocess.Popen[str]:
    """Start a program in a session of its own; the kernel ends it if we die.

    Args:
        quiet: throw its output away; otherwise it comes through a pipe, both streams.
    """
    parent = os.getpid()

    def tie_to_us() -> None:
        # After Popen changed the user: a change of credentials clears this setting.
        die_with_parent(program.orphan_signal)
        if os.getppid() != parent:
            os._exit(1)

    child: subprocess.Popen[str] = subprocess.Popen(
        program.command,
        env={**os.environ, **program.environment},
        cwd="/" if program.user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=tie_to_us,
        **_identity(program.user),  # type: ignore[call-overload] # three keywords at once
    )
    return child


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel end this process when the one that made it is gone."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number))


def stop(children: Iterable[tuple[Program, subprocess.Popen[str]]]) -> None:
    """End programs together: each gets its signal, and after its grace SIGKILL."""
    running = [(program, child) for program, child in children if child.poll() is None]
    for program, child in running:
        child.send_signal(program.stop_signal)
    begun = time.monotonic()
    for program, child in running:
        try:
            child.wait(max(0.1, begun + program.grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill_group(child)
            child.wait()


def kill_group(child: subprocess.Popen[str]) -> None:
    """Kill what is left of a child's process group, also after the child itself."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _identity(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Supervisor:
    """Keeps programs running, prefixes their output, and ends them in reverse order."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._output_lock = threading.Lock()
        self._kept: list[_Kept] = []
        self.ending = False

    def say(self, name: str, line: str) -> None:
        with self._output_lock:
            self._write(f"{name:<8} | {line.rstrip()}")

    def end(self) -> None:
        """Ask `watch` to return; safe in a signal handler."""
        self.ending = True

    def keep(self, program: Program, *, timeout: float = 60.0) -> None:
        """Start a program, wait until it is ready, and keep it running from now on.

        Raises:
            TimeoutError: it did not become ready.
        """
        kept = _Kept(program)
        self._kept.append(kept)
        self._start(kept)
        deadline = time.monotonic() + timeout
        while program.ready is not None and not program.ready():
            if self.ending:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{program.name} did not become ready.")
            self._revive(kept)
            time.sleep(0.05)

    def watch(self) -> None:
        """Restart what ends, with back-off, until `end` is called."""
        while not self.ending:
            for kept in self._kept:
                self._revive(kept)
            time.sleep(0.2)

    def stop(self) -> None:
        """End everything: first what was started last, the servers of data at the end."""
        doors = [kept for kept in self._kept if kept.program.ready is None]
        servers = [kept for kept in self._kept if kept.program.ready is not None]
        for group in (doors, servers):
            stop((kept.program, kept.child) for kept in group if kept.child)
            for kept in group:
                if kept.child:
                    kill_group(kept.child)

    def _start(self, kept: "_Kept") -> None:
        kept.child = start(kept.program)
        kept.started = time.monotonic()
        name, stream = kept.program.name, kept.child.stdout

        def forward() -> None:
            for line in stream or ():
                self.say(name, line)

        threading.Thread(target=forward, daemon=True).start()

    def _revive(self, kept: "_Kept") -> None:
        if kept.child is None or kept.child.poll() is None:
            return
        now = time.monotonic()
        if kept.restart_at is None:
            kill_group(kept.child)  # its own children would hold ports and locks
            if now - kept.started > STEADY:
                kept.failures = 0
            delay = min(LONGEST_BACK_OFF, 0.5 * 2**kept.failures)
            kept.failures += 1
            kept.restart_at = now + delay
            code = kept.child.returncode
            self.say(kept.program.name, f"ended with {code}; again in {delay:g} s")
        elif now >= kept.restart_at:
            kept.restart_at = None
            self._start(kept)


@dataclass(slots=True)
class _Kept:
    program: Program
    child: subprocess.Popen[str] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = None
