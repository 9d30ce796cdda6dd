"""Beat: several of them, and a clock that is set back."""

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
def nobody_is_beat() -> Iterator[None]:
    client: Any = Redis.from_url(settings.REDIS_URL)
    client.delete(f"{settings.KEY_PREFIX}beat")
    yield
    client.delete(f"{settings.KEY_PREFIX}beat")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what any beat of this process sends."""
    names: list[str] = []

    def note(self: Any, entry: Any, producer: Any = None) -> None:
        names.append(entry.name)

    monkeypatch.setattr(Scheduler, "apply_entry", note)
    monkeypatch.setattr(beat, "LOOK_AGAIN", 0.01)
    return names


def every_second() -> PeriodicTask:
    PeriodicTask.objects.all().delete()
    interval = IntervalSchedule.objects.create(every=1, period="seconds")
    task: PeriodicTask = PeriodicTask.objects.create(
        name="tick",
        task="devices.registry.tasks.sweep_device_status",
        interval=interval,
    )
    return task


def scheduler() -> Scheduler:
    made = Scheduler(app=app, lazy=True)
    made._finalize.cancel()  # the test's database is gone when the process ends
    return made


def run(*schedulers: Scheduler, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for each in schedulers:
            each.tick()
        time.sleep(0.02)


def test_of_two_beats_one_sends(sent: list[str], settings: Any) -> None:
    settings.CELERY_BEAT_SCHEDULE = {}
    every_second()

    run(scheduler(), scheduler(), seconds=2.6)

    assert 2 <= sent.count("tick") <= 3


def test_another_takes_the_place_of_one_that_fell_silent(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "LEASE", 1)
    first, second = scheduler(), scheduler()
    assert (first._is_the_one(), second._is_the_one()) == (True, False)

    time.sleep(1.2)

    assert second._is_the_one()
    assert not first._is_the_one()


def test_without_redis_nobody_sends(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert not scheduler()._is_the_one()


def test_a_task_that_ran_in_the_future_is_not_waited_for() -> None:
    task = every_second()
    PeriodicTask.objects.filter(pk=task.pk).update(
        last_run_at=timezone.now() + timedelta(hours=1)
    )

    entry = Entry(PeriodicTask.objects.get(pk=task.pk), app=app)

    assert entry.is_due().next <= 1.1


def test_a_clock_set_back_by_an_hour_stops_nothing(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_second()
    ahead = scheduler()
    run(ahead, seconds=1.2)
    for entry in ahead.schedule.values():
        entry.last_run_at = timezone.now() + timedelta(hours=1)
    later: Any = time.time() + 3600
    ahead._heap = [  # type: ignore[assignment]
        event_t(later, 5, entry) for entry in ahead.schedule.values()
    ]
    ahead._wall = time.time() + 3600  # what it last saw
    before = sent.count("tick")

    run(ahead, seconds=1.5)

    assert sent.count("tick") > before


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
