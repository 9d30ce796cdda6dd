"""Run the application behind nginx with the deployed configuration."""

import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certificates.tests.external_tools import find_tool, run_tool
from devices.registry.tests.waiting import wait_until
from provisioning.tests.processes import subprocess_environment
from provisioning.var import BASE

NAME = "localhost"
PROXY = "127.0.0.77"  # source address of nginx; no other client uses it


class Site:
    """The ports, folder and commands of a running application with its own nginx."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.application, self.stream, self.http, self.https = _free_ports(4)
        self.trust = folder / "trust"

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.https}"

    def curl(self, path: str, *options: str, url: str | None = None) -> tuple[int, str]:
        """Request a path with curl. Return the status, and the body followed by curl's errors."""
        result = subprocess.run(
            [
                "curl",
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--cacert",
                str(self.folder / "server.pem"),
                "--write-out",
                "\n%{http_code}",
                *options,
                f"{url or self.url}{path}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        body, _, status = result.stdout.rpartition("\n")
        return int(status or 0), body + result.stderr

    def refresh_trust(self) -> None:
        """Fetch the trusted CAs and revocation lists once, as `trust.sh` does every minute."""
        run_tool(
            "sh",
            str(BASE / "deploy/nginx/trust.sh"),
            env={
                **os.environ,
                "ONCE": "1",
                "TRUST": str(self.trust),
                "TRUST_FROM": f"http://127.0.0.1:{self.application}",
            },
        )

    def reload(self) -> None:
        run_tool("nginx", "-c", str(self.folder / "nginx.conf"), "-s", "reload")


@contextmanager
def running_site() -> Iterator[Site]:
    """Start the web server, the push server and nginx; stop them afterwards."""
    with tempfile.TemporaryDirectory(prefix="site-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder)
        web, stream = (_application(site, role) for role in ("web", "stream"))
        nginx = None
        try:
            wait_until(lambda: _is_ready(site.application), timeout=60)
            wait_until(lambda: _is_ready(site.stream), timeout=60)
            site.refresh_trust()
            nginx = _nginx(site)
            wait_until(lambda: _is_ready(site.http, "/health/live"), timeout=30)
            yield site
        except AssertionError:
            for log in ("web.log", "error.log"):  # printed with the failure
                if (folder / log).exists():
                    print((folder / log).read_text()[-4000:])
            raise
        finally:
            for process in (nginx, web, stream):
                if process is not None:
                    process.terminate()
                    process.wait(timeout=30)


def _application(site: Site, role: str) -> "subprocess.Popen[bytes]":
    with (site.folder / f"{role}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "manage.py", "serve", role],
            cwd=BASE,
            env={
                **subprocess_environment(),
                "PORT": str(site.application),
                "STREAM_PORT": str(site.stream),
                "PUBLIC_URL": site.url,
                "HOST": "127.0.0.1",
                "WEB_WORKERS": "1",
                "STREAM_WORKERS": "1",
                "TRUSTED_PROXIES": PROXY,
                "CLIENT_CERTIFICATE_PROXIES": PROXY,
            },
            stdout=log,
            stderr=log,
        )


def _nginx(site: Site) -> "subprocess.Popen[bytes]":
    """Start nginx with the deployed configuration on other ports and folders."""
    run_tool(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-nodes",
        "-days",
        "2",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        f"/CN={NAME}",
        "-addext",
        f"subjectAltName=DNS:{NAME}",
        "-keyout",
        str(site.folder / "server-key.pem"),
        "-out",
        str(site.folder / "server.pem"),
    )
    deployed = (BASE / "deploy/nginx/provisioning.conf").read_text()
    for original, replacement in {
        "    server web-2:8000 max_fails=2 fail_timeout=5s;\n": "",
        "    server stream-2:9000 max_fails=2 fail_timeout=5s;\n": "",
        "stream-1:9000": f"127.0.0.1:{site.stream}",
        "web-1:8000": f"127.0.0.1:{site.application}",
        "listen 80 default_server;": f"listen 127.0.0.1:{site.http} default_server;",
        "listen 443 ssl;": f"listen 127.0.0.1:{site.https} ssl;\n    proxy_bind {PROXY};",
        "/etc/nginx/tls": str(site.folder),
        "/etc/nginx/trust": str(site.trust),
        "limit_req_status": f"access_log {site.folder}/access.log; limit_req_status",
    }.items():
        assert original in deployed, original
        deployed = deployed.replace(original, replacement)
    folders = "\n".join(
        f"{kind}_temp_path {site.folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = site.folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; pid {site.folder}/nginx.pid;\n"
        f"error_log {site.folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{folders}\n{deployed}\n}}\n"
    )
    command = [find_tool("nginx") or "nginx", "-c", str(configuration)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _is_ready(port: int, path: str = "/health/ready") -> bool:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
