"""Child processes that end with their parent, and a supervisor that restarts them."""

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
MAX_BACK_OFF = 15.0  # seconds
HEALTHY_AFTER = 30.0  # seconds of uptime that reset the back-off

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to keep running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None  # user to run as; only root can change it
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGTERM  # sent when the parent dies
    grace: float = 6.0  # seconds between the stop signal and SIGKILL
    ready: Callable[[], bool] | None = None


def start(program: Program, *, quiet: bool = False) -> subprocess.Popen[str]:
    """Start a program in its own session. The program ends when the calling process ends.

    Args:
        quiet: discard the output. By default both output streams go to a pipe.
    """
    parent = os.getpid()

    def end_with_parent() -> None:
        # Popen has already changed the user. A later change would clear this setting.
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
        preexec_fn=end_with_parent,  # noqa: PLW1509 # the function takes no lock
        **_identity(program.user),  # type: ignore[call-overload] # three keywords at once
    )
    return child


def die_with_parent(number: signal.Signals) -> None:
    """Make the kernel send this process a signal when its parent ends (Linux only)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number))


def stop(children: Iterable[tuple[Program, subprocess.Popen[str]]]) -> None:
    """Stop programs at the same time.

    Send each program its stop signal. If the program still runs after its `grace`, send
    SIGKILL.
    """
    running = [(program, child) for program, child in children if child.poll() is None]
    for program, child in running:
        child.send_signal(program.stop_signal)
    started = time.monotonic()
    for program, child in running:
        try:
            child.wait(max(0.1, started + program.grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill_group(child)
            child.wait()


def kill_group(child: subprocess.Popen[str]) -> None:
    """Kill the remaining processes of a child's group, even if the child has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _identity(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Supervisor:
    """Run programs, restart them when they end, and prefix their output lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._output_lock = threading.Lock()
        self._processes: list[_Process] = []
        self.stopping = False

    def log(self, name: str, line: str) -> None:
        """Write one line of output, prefixed with the program's name."""
        with self._output_lock:
            self._write(f"{name:<8} | {line.rstrip()}")

    def request_stop(self) -> None:
        """Make `watch` return. Safe to call in a signal handler."""
        self.stopping = True

    def add(self, program: Program, *, timeout: float = 60.0) -> None:
        """Start a program and wait until it is ready. `watch` restarts it when it ends.

        Args:
            timeout: seconds to wait for the program to become ready.

        Raises:
            TimeoutError: the program did not become ready.
        """
        process = _Process(program)
        self._processes.append(process)
        self._start(process)
        deadline = time.monotonic() + timeout
        while program.ready is not None and not program.ready():
            if self.stopping:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{program.name} did not become ready.")
            self._restart_if_ended(process)
            time.sleep(0.05)

    def watch(self) -> None:
        """Restart programs that end, with back-off, until `request_stop` is called."""
        while not self.stopping:
            for process in self._processes:
                self._restart_if_ended(process)
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop all programs. PostgreSQL and Valkey stop last, because the others use them."""
        clients = [each for each in self._processes if each.program.ready is None]
        servers = [each for each in self._processes if each.program.ready is not None]
        for group in (clients, servers):
            stop((process.program, process.child) for process in group if process.child)
            for process in group:
                if process.child:
                    kill_group(process.child)

    def _start(self, process: "_Process") -> None:
        process.child = start(process.program)
        process.started = time.monotonic()
        name, stream = process.program.name, process.child.stdout

        def forward() -> None:
            for line in stream or ():
                self.log(name, line)

        threading.Thread(target=forward, daemon=True).start()

    def _restart_if_ended(self, process: "_Process") -> None:
        if process.child is None or process.child.poll() is None:
            return
        now = time.monotonic()
        if process.restart_at is None:
            kill_group(process.child)  # its own children would keep ports and locks
            if now - process.started > HEALTHY_AFTER:
                process.failures = 0
            delay = min(MAX_BACK_OFF, 0.5 * 2**process.failures)
            process.failures += 1
            process.restart_at = now + delay
            code = process.child.returncode
            self.log(process.program.name, f"exited with {code}; restart in {delay:g} s")
        elif now >= process.restart_at:
            process.restart_at = None
            self._start(process)


@dataclass(slots=True)
class _Process:
    program: Program
    child: subprocess.Popen[str] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = None
