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

AT_ONCE = 5.0  # seconds

app = Celery("provisioning")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery closes the connection around each task; a renewal is quicker than opening one.
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
app.autodiscover_tasks()


def _keep_former_name(former: str, name: str) -> None:
    """Run a task also under the name that it had in the previous release."""

    @app.task(name=former, ignore_result=True)
    def run(*args: Any) -> Any:
        return app.tasks[name].run(*args)


for _former, _name in RENAMED_TASKS.items():
    _keep_former_name(_former, _name)


@task_prerun.connect
def keep_a_good_connection(**_: Any) -> None:
    """As a request does: one that broke or is old is not used again."""
    close_old_connections()


@worker_shutting_down.connect
def end_in_any_case(how: str, **_: Any) -> None:
    """Told to end at once, a worker does: its pool may wait for itself for good.

    What it was working on comes again, as after any end that is not warm.
    """
    if how == "Cold":
        ending = threading.Timer(AT_ONCE, os._exit, [1])
        ending.daemon = True
        ending.start()
