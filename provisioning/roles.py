"""Command lines of the roles: web server, push server, Celery worker, beat, MQTT bridge."""

import sys
from pathlib import Path

from django.conf import settings

SCRIPTS = Path(sys.executable).parent
CELERY = (str(SCRIPTS / "celery"), "--app", "provisioning", "--quiet")
ROLES = ("web", "stream", "worker", "beat", "mqtt")


def command_line(role: str, *, port: int) -> tuple[str, ...]:
    """Return the command line of one of `ROLES`.

    Args:
        port: the port to listen on; used by `web` and `stream`.

    Raises:
        ValueError: the role does not exist.
    """
    match role:
        case "web":
            return (
                str(SCRIPTS / "granian"),
                "--interface=rsgi",
                f"--host={settings.HOST}",
                f"--port={port}",
                f"--workers={settings.WEB_WORKERS}",
                "--no-ws",
                "--respawn-failed-workers",
                "--log-level=warning",
                "--workers-kill-timeout=4",
                "provisioning.rsgi:app",
            )
        case "stream":
            return (
                str(SCRIPTS / "uvicorn"),
                "--loop=uvloop",
                "--http=core.push.bounded_protocol:BoundedProtocol",
                f"--host={settings.HOST}",
                f"--port={port}",
                f"--workers={settings.STREAM_WORKERS}",
                "--backlog=4096",
                "--no-access-log",
                "--no-server-header",
                "--no-proxy-headers",
                "--log-level=warning",
                "--timeout-graceful-shutdown=2",
                "--timeout-worker-healthcheck=60",
                "--lifespan=on",
                "provisioning.asgi:app",
            )
        case "worker":
            return (
                *CELERY,
                "worker",
                "--queues=prompt,bulk",
                f"--concurrency={settings.WORKER_PROCESSES}",
                "--loglevel=warning",
                "--without-gossip",
                "--without-mingle",
            )
        case "beat":
            return (*CELERY, "beat", "--loglevel=warning", "--pidfile=")
        case "mqtt":
            return (sys.executable, "-m", "provisioning.mqtt")
    raise ValueError(f"{role!r} is not a role. Roles are {', '.join(ROLES)}.")
