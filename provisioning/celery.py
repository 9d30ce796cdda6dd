"""The Celery application: configured by Django's settings, tasks found in the apps."""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

app = Celery("provisioning")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery closes the connection around each task; a renewal is quicker than opening one.
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
app.autodiscover_tasks()


@task_prerun.connect
def keep_a_good_connection(**_: Any) -> None:
    """As a request does: one that broke or is old is not used again."""
    close_old_connections()
