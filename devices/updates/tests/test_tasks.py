"""Tests of the update tasks in a Celery worker, and of rollout steps that run in parallel."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from devices.registry.tests.waiting import wait_until
from devices.updates import tasks
from devices.updates.models import SoftwareUpdate, UpdateStatus
from devices.updates.services import rollout_tick
from devices.updates.tests.rollouts import (
    create_devices,
    create_member,
    create_released_package,
    devices_in,
    start_rollout,
    wave_sizes,
)
from events.models import Event
from provisioning import settings as defaults
from tenants.context import every_tenant_scope
from tenants.models import Tenant


@pytest.mark.usefixtures("celery_worker")
def test_a_started_rollout_is_advanced_by_the_worker(acting: Tenant, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    create_devices(acting, 3)
    rollout = start_rollout(
        create_released_package(now, tmp_path / "in"), create_member(acting), now
    )

    wait_until(lambda: len(devices_in(rollout)) == 3)


@pytest.mark.usefixtures("celery_worker")
def test_leftover_uploads_are_deleted(db: None) -> None:
    orphan = Path(settings.UPLOADS_ROOT) / "upload-leftover"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"half")
    os.utime(orphan, (0, 0))

    tasks.delete_orphaned_files.delay()

    wait_until(lambda: not orphan.exists())


@pytest.mark.usefixtures("celery_worker")
def test_missing_hashes_are_computed(acting: Tenant, tmp_path: Path, package_files: Path) -> None:
    package = create_released_package(datetime.now(UTC), tmp_path / "in")
    sha1 = package.sha1
    SoftwareUpdate.objects.update(sha1="", md5="")
    folder = Path(defaults.STORAGES["packages"]["OPTIONS"]["location"])  # of the worker
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(shutil.copy(package_files / package.stored_name, folder))

    tasks.compute_missing_hashes.delay()

    wait_until(lambda: SoftwareUpdate.objects.get().sha1 == sha1)
    file.unlink()


@pytest.mark.django_db(transaction=True)
def test_parallel_steps_open_each_wave_once(acting: Tenant, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    create_devices(acting, 40)
    rollout = start_rollout(
        create_released_package(now, tmp_path / "in"),
        create_member(acting),
        now,
        waves=wave_sizes(25, 50, 100),
    )

    def run_steps(_: int) -> None:
        with every_tenant_scope():
            while rollout_tick.advance_next_rollout(now=datetime.now(UTC)):
                pass
        connection.close()

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(run_steps, range(4)))

    rollout.refresh_from_db()
    assert rollout.opened == UpdateStatus.objects.count() == len(devices_in(rollout)) == 10
    opened = Event.objects.filter(name="rollout.wave", data__state="running")
    assert opened.count() == 1
