"""A database of the previous release migrates and keeps working.

`data/release-1.sql.gz` was written by `pg_dump --inserts` from a database of release 1. The
database contains a tenant whose owner has a second factor, three devices, a certificate, a
sample, a running rollout, an event with a pending delivery, and beat's schedule.
`data/release-1.json` contains the credentials of these objects.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from provisioning.var import BASE

DATA = Path(__file__).parent / "data"
RELEASE_1 = json.loads((DATA / "release-1.json").read_text(encoding="utf-8"))

USE = """
import json
import sys
from datetime import datetime, timedelta
import django
django.setup()
from django.utils import timezone
from django.test import Client
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient
from accounts.services import second_factor
from certificates.models import DeviceCertificate
from devices.metrics.models import DeviceMetrics
from devices.updates.models import DeploymentWave
from devices.updates.services import rollout_tick
from events.models import Delivery
from events.services import delivery
from provisioning.beat import Scheduler
from provisioning.celery import app
from provisioning.schedule import RENAMED_TASKS
from tenants.context import every_tenant_scope
from tenants.models import User

known = json.load(open(sys.argv[1]))
made_at = datetime.fromisoformat(known["made_at"])

def client(token):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION="Bearer " + token)
    return api

device, member = client(known["device_token"]), client(known["api_token"])
connect = device.post("/devices/connect", {"app_version": "2.0.0"})
rollout = member.get("/updates/rollouts/" + known["rollout"])
enrolled = client(known["enrollment_token"]).post(
    "/devices/auto-register", {"serial_number": "after-the-upgrade"}
)
signed_in = Client().post("/admin/login/", {
    "username": "owner@example.com", "password": "an upgrade password",
})
with every_tenant_scope():
    user = User.objects.get(email="owner@example.com")
    second_factor.verify(user, known["recovery_code"], now=made_at)
    reencrypted = second_factor.reencrypt()
    waiting = Delivery.objects.count()
    later = timezone.now() + timedelta(hours=1)
    while delivery.deliver(now=later):
        pass
    left = list(Delivery.objects.values_list("listener", "last_error"))
    while rollout_tick.advance_next_rollout(now=later):
        pass
    wave = DeploymentWave.every_tenant.get(deployment=known["rollout"], number=1)
    scheduler = Scheduler(app=app, lazy=True)
    scheduler._finalize.cancel()
    scheduler.setup_schedule()
    print(json.dumps({
        "connect": [connect.status_code, connect.json()],
        "rollout": [rollout.status_code, rollout.json()["state"]],
        "enrolled": enrolled.status_code,
        "signed_in": signed_in.status_code,
        "second_factors": reencrypted,
        "certificate": DeviceCertificate.objects.get(
            serial_number=known["serial_number"]
        ).status,
        "samples": DeviceMetrics.every_tenant.count(),
        "wave": [wave.counts["pending"], wave.counted_at == later],
        "deliveries": [waiting, left],
        "former_tasks": PeriodicTask.objects.filter(task__in=RENAMED_TASKS).count(),
        "tasks": PeriodicTask.objects.filter(
            task="devices.registry.tasks.delete_expired_pairings"
        ).count(),
    }))
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Create a database with the data of release 1. Yield its URL."""
    server = os.environ["DATABASE_URL"].rpartition("/")[0]
    copy = f"upgrade_{uuid4().hex[:12]}"
    maintenance = psycopg2.connect(f"{server}/postgres")
    maintenance.autocommit = True
    try:
        with maintenance.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {copy}")
        connection = psycopg2.connect(f"{server}/{copy}")
        with connection, connection.cursor() as cursor:
            cursor.execute(gzip.decompress((DATA / "release-1.sql.gz").read_bytes()))
        connection.close()
        yield f"{server}/{copy}"
    finally:
        with maintenance.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
        maintenance.close()


@pytest.fixture(scope="module")
def upgraded(database: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Upgrade the database and run operations on it. Return the results by name."""
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "provisioning.settings",
        "SECRET_KEY": RELEASE_1["secret_key"],
        "CERTIFICATES_ROOT": str(tmp_path_factory.mktemp("upgrade") / "certificates"),
        "ALLOWED_HOSTS": "testserver",
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=BASE, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("manage.py", "migrate", "--no-input")
    run("manage.py", "check", "--database", "default")
    return json.loads(run("-c", USE, str(DATA / "release-1.json")).splitlines()[-1])


def test_a_device_connects_with_its_token(upgraded: Any) -> None:
    status, answer = upgraded["connect"]

    assert status == 200
    serial_number = answer["next_steps"]["certificate_serial_number"]
    assert serial_number == RELEASE_1["serial_number"]


def test_new_devices_register_with_the_enrollment_token(upgraded: Any) -> None:
    assert upgraded["enrolled"] == 201


def test_a_member_uses_their_token_password_and_recovery_code(upgraded: Any) -> None:
    assert upgraded["rollout"] == [200, "running"]
    assert upgraded["signed_in"] == 302
    assert upgraded["second_factors"] == {"second_factors": 1}


def test_certificates_and_samples_are_there(upgraded: Any) -> None:
    assert upgraded["certificate"] == "active"
    assert upgraded["samples"] == 1


def test_a_rollout_that_was_running_goes_on(upgraded: Any) -> None:
    assert upgraded["wave"] == [2, True]


def test_an_event_that_waited_reaches_its_renamed_subscriber(upgraded: Any) -> None:
    waiting, left = upgraded["deliveries"]

    assert waiting >= 1
    assert left == []


def test_beat_has_the_new_names_of_tasks_only(upgraded: Any) -> None:
    assert (upgraded["former_tasks"], upgraded["tasks"]) == (0, 1)
