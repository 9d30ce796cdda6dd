"""The tasks of software updates, in a real worker; and many ticks at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from devices.registry.tests.waiting import until
from devices.updates import tasks
from devices.updates.models import UpdateStatus
from devices.updates.services import rollout_tick
from devices.updates.tests.rollouts import (
    fleet,
    given,
    person,
    released,
    sizes,
    started,
)
from events.models import Event
from tenants.context import every_tenant_scope
from tenants.models import Tenant


@pytest.mark.usefixtures("celery_worker")
def test_a_rollout_begins_soon_after_it_was_started(
    acting: Tenant, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    fleet(acting, 3)
    row = started(released(now, tmp_path / "in"), person(acting), now)

    until(lambda: len(given(row)) == 3)


@pytest.mark.usefixtures("celery_worker")
def test_files_that_belong_to_nobody_are_dropped(db: None) -> None:
    orphan = Path(settings.UPLOADS_ROOT) / "upload-left"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"half")
    os.utime(orphan, (0, 0))

    tasks.delete_orphaned_files.delay()

    until(lambda: not orphan.exists())


@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_do_no_harm(acting: Tenant, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fleet(acting, 40)
    row = started(
        released(now, tmp_path / "in"), person(acting), now, waves=sizes(25, 50, 100)
    )

    def ticking(_: int) -> None:
        with every_tenant_scope():
            while rollout_tick.tick(now=datetime.now(UTC)):
                pass
        connection.close()

    with ThreadPoolExecutor(4) as together:
        list(together.map(ticking, range(4)))

    row.refresh_from_db()
    assert row.opened == UpdateStatus.objects.count() == len(given(row)) == 10
    opened = Event.objects.filter(name="rollout.wave", data__state="running")
    assert opened.count() == 1
