"""Celery beat: leader election and a clock that is set back."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery.beat import event_t
from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from redis import Redis

from provisioning import beat
from provisioning.beat import Entry, Scheduler
from provisioning.celery import app

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_leader() -> Iterator[None]:
    client = Redis.from_url(settings.REDIS_BROKER_URL)
    client.delete(f"{settings.KEY_PREFIX}beat")
    yield
    client.delete(f"{settings.KEY_PREFIX}beat")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the names of sent tasks are added."""
    names: list[str] = []

    def record(self: Any, entry: Any, producer: Any = None) -> None:
        names.append(entry.name)

    monkeypatch.setattr(Scheduler, "apply_entry", record)
    monkeypatch.setattr(beat, "STANDBY_INTERVAL", 0.01)
    return names


def every_second() -> PeriodicTask:
    PeriodicTask.objects.all().delete()
    interval = IntervalSchedule.objects.create(every=1, period="seconds")
    return PeriodicTask.objects.create(
        name="tick", task="devices.registry.tasks.sweep_device_status", interval=interval
    )


def scheduler() -> Scheduler:
    scheduler = Scheduler(app=app, lazy=True)
    scheduler._finalize.cancel()  # the test's database is gone when the process ends
    return scheduler


def run(*schedulers: Scheduler, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for each in schedulers:
            each.tick()
        time.sleep(0.02)


def test_only_one_of_two_schedulers_sends(sent: list[str], settings: Any) -> None:
    settings.CELERY_BEAT_SCHEDULE = {}
    every_second()

    run(scheduler(), scheduler(), seconds=2.6)

    assert 2 <= sent.count("tick") <= 3


def test_another_scheduler_takes_over_when_the_lease_expires(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "LEASE", 1)
    first, second = scheduler(), scheduler()
    assert (first._is_leader(), second._is_leader()) == (True, False)

    time.sleep(1.2)

    assert second._is_leader()
    assert not first._is_leader()


def test_without_redis_there_is_no_leader(settings: Any) -> None:
    settings.REDIS_BROKER_URL = "redis://127.0.0.1:1/0"

    assert not scheduler()._is_leader()


def test_a_last_run_in_the_future_does_not_delay_a_task() -> None:
    task = every_second()
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() + timedelta(hours=1))

    entry = Entry(PeriodicTask.objects.get(pk=task.pk), app=app)

    assert entry.is_due().next <= 1.1


def test_tasks_are_still_sent_after_the_clock_was_set_back(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_second()
    scheduler_ahead = scheduler()
    run(scheduler_ahead, seconds=1.2)
    for entry in scheduler_ahead.schedule.values():
        entry.last_run_at = timezone.now() + timedelta(hours=1)
    due_at = time.time() + 3600
    scheduler_ahead._heap = [  # type: ignore[assignment]
        event_t(due_at, 5, entry) for entry in scheduler_ahead.schedule.values()
    ]
    scheduler_ahead._last_wall_time = time.time() + 3600
    count = sent.count("tick")

    run(scheduler_ahead, seconds=1.5)

    assert sent.count("tick") > count


def test_beat_removes_the_entries_of_renamed_tasks() -> None:
    interval = IntervalSchedule.objects.create(every=1, period="minutes")
    for name, task in (
        ("drop outlived pairings", "devices.tasks.drop_outlived_pairings"),
        ("my own", "devices.registry.tasks.sweep_device_status"),
    ):
        PeriodicTask.objects.create(name=name, task=task, interval=interval)

    scheduler().setup_schedule()

    names = set(PeriodicTask.objects.values_list("name", flat=True))
    assert {"my own", "delete expired pairings"} <= names
    assert "drop outlived pairings" not in names
