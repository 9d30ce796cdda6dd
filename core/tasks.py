"""Start Celery tasks by name, without importing the package that defines them."""

from functools import cache, partial
from typing import Any

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from core.background import BackgroundCall


def enqueue(name: str, *args: Any, expires: float | None = None) -> None:
    """Send a task to its queue now.

    Args:
        name: the task's full name, such as `events.tasks.deliver_events`.
        args: positional arguments that JSON can express.
        expires: seconds after which a worker drops the task without starting it.

    Raises:
        OperationalError: the broker does not answer.
    """
    current_app.send_task(name, args=args, expires=expires, retry=False)


def enqueue_on_commit(name: str, *, expires: float | None = None) -> None:
    """After the current transaction commits, send a task from a background thread.

    After several commits in quick succession, the task is sent only once. If the broker
    does not answer, the task is dropped. Use this only for tasks that beat starts as well.

    Args:
        name: the task's full name.
        expires: seconds after which a worker drops the task without starting it.
    """
    transaction.on_commit(_background(name, expires), robust=True)


@cache
def _background(name: str, expires: float | None) -> BackgroundCall:
    return BackgroundCall(partial(enqueue, name, expires=expires), OperationalError)
