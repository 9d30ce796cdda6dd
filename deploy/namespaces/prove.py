"""Prove the layout of compose.yaml on one machine, with a host for each part.

Run by hand, as root, on Debian, from the project's folder once `./run` has made `.venv`:

    apt-get install -y postgresql redis-server nginx iproute2 openssl
    .venv/bin/python deploy/namespaces/prove.py

Each host is a network namespace with its own address: one database host, two web hosts,
two worker hosts (each with a worker and a beat), one proxy with TLS, and a client with
devices that register and connect continuously. During this, a web host is disconnected,
the other one is killed and restarted, a worker host is disconnected, and the database is
killed and restarted. Afterwards, every acknowledged registration must exist exactly once.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = str(PROJECT / ".venv/bin/python")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NETWORK = "10.77.0"
HOSTS = {"db": 10, "web-1": 21, "web-2": 22, "work-1": 31, "work-2": 32, "proxy": 40}
HOSTS["client"] = 50
NAME = "devices.test"
FOLDER = Path(tempfile.mkdtemp(prefix="prove-"))
DATABASE_PASSWORD, BROKER_PASSWORD = secrets.token_hex(16), secrets.token_hex(16)


def address(host: str) -> str:
    return f"{NETWORK}.{HOSTS[host]}"


def run(*command: str, **kwargs: Any) -> str:
    done = subprocess.run(command, check=True, text=True, capture_output=True, **kwargs)
    return str(done.stdout)


def run_line(line: str, *more: str) -> str:
    """Split a command line into arguments, append more arguments, and run the command."""
    return run(*shlex.split(line), *more)


def manage(line: str) -> str:
    """Run a management command on a web host."""
    command = inside("web-1", PYTHON, "manage.py", *shlex.split(line))
    return run(*command, env=environment(), cwd=PROJECT)


def query(sql: str) -> str:
    """Return the unaligned result of a query of the application's database."""
    options = f"-h {FOLDER}/postgresql -U postgres -d provisioning -Atc"
    return run_line(f"{BINARIES[-1]}/psql {options}", sql).strip()


def inside(host: str, *command: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", f"prove-{host}", *command)


class Stage:
    """The processes that run on the hosts."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[Any]] = {}

    def start(self, name: str, host: str, *command: str, user: str = "") -> None:
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        words = (*(as_user if user else ()), *command)
        log = (FOLDER / f"{name}.log").open("a")
        self.running[name] = subprocess.Popen(
            inside(host, *words),
            env=environment(),
            cwd=PROJECT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            process.kill()

    def end(self) -> None:
        for name in list(self.running):
            self.stop(name, signal.SIGKILL)
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", f"prove-{host}"], check=False)
        subprocess.run(["ip", "link", "del", "prove"], check=False)


def environment() -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATABASE_URL": f"postgres://provisioning:{DATABASE_PASSWORD}"
        f"@{address('db')}:5432/provisioning",
        "REDIS_URL": f"redis://:{BROKER_PASSWORD}@{address('db')}:6379/0",
        "SECRET_KEY": "the same on every host " + DATABASE_PASSWORD,
        "CERTIFICATES_ROOT": str(FOLDER / "certificates"),  # as a shared volume
        "VAR_DIR": str(FOLDER / "var"),
        "PUBLIC_URL": f"https://{NAME}",
        "TRUSTED_PROXIES": f"{address('proxy')}/32",
        "HOST": "0.0.0.0",
        "RATE_ENROLLMENT": "off",
    }


def create_hosts() -> None:
    run_line("ip link add prove type bridge")
    run_line("ip link set prove up")
    for host, number in HOSTS.items():
        run("ip", "netns", "add", f"prove-{host}")
        interface = f"prove{number}"
        run_line(f"ip link add {interface} type veth peer name eth0 netns prove-{host}")
        run_line(f"ip link set {interface} master prove up")
        run(*inside(host, "ip", "address", "add", f"{address(host)}/24", "dev", "eth0"))
        run(*inside(host, "ip", "link", "set", "eth0", "up"))
        run(*inside(host, "ip", "link", "set", "lo", "up"))


def disconnect(host: str) -> None:
    run_line(f"ip link set prove{HOSTS[host]} down")


def reconnect(host: str) -> None:
    run_line(f"ip link set prove{HOSTS[host]} up")


def start_database(stage: Stage) -> None:
    data, binaries = FOLDER / "postgresql", BINARIES[-1]
    if not data.exists():
        data.mkdir()
        shutil.chown(data, "postgres")
        run_line(
            "setpriv --reuid=postgres --regid=postgres --init-groups"
            f" {binaries}/initdb -D {data} --auth=scram-sha-256 --auth-local=trust"
        )
        with (data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
    options = f"-c listen_addresses=* -c unix_socket_directories={data}"
    command = shlex.split(f"{binaries}/postgres -D {data} {options}")
    stage.start("postgresql", "db", *command, user="postgres")
    psql = (str(binaries / "psql"), "-h", str(data), "-U", "postgres", "-c")
    for _ in range(50):
        if subprocess.run([*psql, "SELECT 1"], capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.2)
    known = run(*psql, "SELECT count(*) FROM pg_roles WHERE rolname = 'provisioning'")
    if " 0" in known:
        run(*psql, f"CREATE ROLE provisioning LOGIN PASSWORD '{DATABASE_PASSWORD}'")
        run(*psql, "CREATE DATABASE provisioning OWNER provisioning")


def start_proxy(stage: Stage) -> None:
    run_line(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME}"
        f" -keyout {FOLDER}/server-key.pem -out {FOLDER}/server.pem"
    )
    site = (PROJECT / "deploy/nginx/provisioning.conf").read_text()
    for host in ("web-1", "web-2"):
        site = site.replace(f"{host}:8000", f"{address(host)}:8000")
        stream = host.replace("web", "stream")  # the push channel is on the same hosts
        site = site.replace(f"{stream}:9000", f"{address(host)}:9000")
    site = site.replace("/etc/nginx/tls", str(FOLDER))
    fetch = ("env", "ONCE=1", f"TRUST_FROM=http://{address('web-1')}:8000")
    script = str(PROJECT / "deploy/nginx/trust.sh")
    run(*inside("proxy", *fetch, f"TRUST={FOLDER}/trust", "sh", script))
    site = site.replace("/etc/nginx/trust", f"{FOLDER}/trust")
    site = site.replace("rate=2000r/s", "rate=5000r/s")  # the devices share an address
    configuration = FOLDER / "nginx.conf"
    configuration.write_text(
        f"daemon off; pid {FOLDER}/nginx.pid; error_log {FOLDER}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{site}\n}}\n"
    )
    stage.start("nginx", "proxy", "nginx", "-c", str(configuration))


# --- The devices, in the client's namespace ---------------------------------------------


def run_devices(token: str, seconds: float) -> None:
    """Register and connect for some seconds; print the acknowledged registrations."""
    trust = ssl.create_default_context(cafile=str(FOLDER / "server.pem"))
    acknowledged: dict[str, Any] = {}
    figures = {"answered": 0, "failed": 0, "slowest": 0.0}
    until = time.monotonic() + seconds

    def call(path: str, bearer: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"https://{NAME}{path}",
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {bearer}",
                "Content-Type": "application/json",
                "X-Forwarded-For": "203.0.113.66",  # forged, must be ignored
            },
        )
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
            return json.load(answer)

    def work(number: int) -> None:
        turn = 0
        while time.monotonic() < until:
            serial = f"PROVE-{number}-{turn}"
            begun = time.monotonic()
            try:
                made = call("/devices/auto-register", token, {"serial_number": serial})
                acknowledged[serial] = made["device"]["id"]
                call("/devices/connect", made["token"], {})
                figures["answered"] += 2
                turn += 1
            except (OSError, ValueError):
                figures["failed"] += 1
                time.sleep(0.2)
            spent = time.monotonic() - begun
            figures["slowest"] = max(figures["slowest"], spent)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"acknowledged": acknowledged, **figures}))


def main() -> None:
    if sys.argv[1:2] == ["devices"]:
        run_devices(sys.argv[2], float(sys.argv[3]))
        return
    assert BINARIES, "apt-get install -y postgresql"
    FOLDER.chmod(0o755)
    stage = Stage()
    with ExitStack() as stack:
        stack.callback(stage.end)
        create_hosts()
        start_database(stage)
        broker = f"redis-server --bind 0.0.0.0 --requirepass {BROKER_PASSWORD}"
        stage.start("valkey", "db", *shlex.split(f"{broker} --appendonly yes --dir {FOLDER}"))
        manage("migrate --no-input -v0")
        print(f"tenant {json.loads(manage('create_tenant prove --json'))['tenant']}")
        token = json.loads(manage("create_enrollment_token prove --json"))["token"]
        manage("init_ca")
        serve = (PYTHON, "manage.py", "serve")
        for host in ("web-1", "web-2"):
            stage.start(host, host, *serve, "web")
        for host in ("work-1", "work-2"):
            stage.start(f"{host}-worker", host, *serve, "worker")
            stage.start(f"{host}-beat", host, *serve, "beat")
        start_proxy(stage)
        hosts = Path("/etc/netns/prove-client")
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts").write_text(f"{address('proxy')} {NAME}\n127.0.0.1 localhost\n")
        stack.callback(shutil.rmtree, hosts, True)
        time.sleep(8)
        prove(stage, token)


def prove(stage: Stage, token: str) -> None:
    client = subprocess.Popen(
        inside("client", PYTHON, str(Path(__file__)), "devices", token, "70"),
        env={**environment(), "PROVE": str(FOLDER)},
        stdout=subprocess.PIPE,
        text=True,
    )
    serve = (PYTHON, "manage.py", "serve")
    steps: list[tuple[float, str, Any]] = [
        (8, "a web host is disconnected", lambda: disconnect("web-1")),
        (10, "it is connected again", lambda: reconnect("web-1")),
        (6, "the other one is killed", lambda: stage.stop("web-2", signal.SIGKILL)),
        (6, "it is restarted", lambda: stage.start("web-2", "web-2", *serve, "web")),
        (6, "a worker host is disconnected", lambda: disconnect("work-1")),
        (8, "it is connected again", lambda: reconnect("work-1")),
        (6, "the database is killed", lambda: stage.stop("postgresql", signal.SIGKILL)),
        (3, "it is restarted", lambda: start_database(stage)),
    ]
    for seconds, what, act in steps:
        time.sleep(seconds)
        print(what, flush=True)
        act()
    result = json.loads(client.communicate()[0])
    print(
        f"{result['answered']} requests answered, {result['failed']} failed,"
        f" the slowest pair took {result['slowest']:.1f} s"
    )
    time.sleep(25)  # until beat has sealed the remaining events
    check(result["acknowledged"])


def check(acknowledged: dict[str, str]) -> None:
    rows = query("SELECT value, device_id FROM devices_deviceidentifier")
    found = dict(line.split("|") for line in rows.split())
    lost = {s: d for s, d in acknowledged.items() if found.get(s) != d}
    registered = "FROM events_event WHERE name = 'device.registered'"
    repeated = query(
        f"SELECT count(*) FROM (SELECT device_id {registered} GROUP BY 1 HAVING count(*) > 1) t"
    )
    addresses = query(f"SELECT DISTINCT host(address) {registered}").split()
    unsealed = query("SELECT count(*) FROM events_unsealed")
    print(
        f"{len(acknowledged)} registrations acknowledged, {len(lost)} lost,"
        f" {repeated} with two events"
    )
    audit = manage("verify_audit_log").strip()
    print(f"addresses of callers: {', '.join(addresses)}; unsealed: {unsealed}; {audit}")
    passed = not lost and (repeated, unsealed) == ("0", "0") and addresses == [address("client")]
    print("PASSED" if passed else f"FAILED; the logs are in {FOLDER}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    FOLDER = Path(os.environ.get("PROVE", FOLDER))
    main()
