"""The Celery application, configured by Django's settings."""

import os
import sys
import threading
from typing import Any

from celery import Celery
from celery.signals import task_prerun, worker_shutting_down
from django.db import close_old_connections

from provisioning.schedule import RENAMED_TASKS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

COLD_SHUTDOWN_TIMEOUT = 5.0  # seconds

app = Celery("provisioning")
app.config_from_object("django.conf:settings", namespace="CELERY")
# By default Celery closes the database connection around each task. Opening one takes
# longer than a whole renewal task.
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
app.autodiscover_tasks()


def _register_former_name(former: str, name: str) -> None:
    """Register a task also under the name that it had in the previous release."""

    @app.task(name=former, ignore_result=True)
    def run(*args: Any) -> Any:
        return app.tasks[name].run(*args)


for _former, _name in RENAMED_TASKS.items():
    _register_former_name(_former, _name)


@task_prerun.connect
def discard_stale_connections(**_: Any) -> None:
    """Close broken or expired database connections, as Django does before a request."""
    close_old_connections()


@worker_shutting_down.connect
def force_cold_shutdown(how: str, **_: Any) -> None:
    """Exit a few seconds after a cold shutdown was requested.

    Without this exit, the worker's pool may never stop. As after every cold shutdown, the
    broker then delivers the interrupted tasks a second time.
    """
    if how == "Cold":
        timer = threading.Timer(COLD_SHUTDOWN_TIMEOUT, os._exit, [1])
        timer.daemon = True
        timer.start()
