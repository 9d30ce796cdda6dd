"""What beat sends, and when; what comes too late is left to the next time."""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

BEAT: dict[str, dict[str, Any]] = {
    "sweep device status": {
        "task": "devices.registry.tasks.sweep_device_status",
        "schedule": crontab(),  # every minute
        "options": {"expires": 55},  # a late sweep is superseded by the next one
    },
    "check certificate expirations": {
        "task": "certificates.tasks.check_expirations",
        "schedule": crontab(minute="7"),  # hourly
        "options": {"expires": 3500},
    },
    "renew due certificates": {
        "task": "certificates.tasks.renew_due",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "build revocation lists": {
        "task": "certificates.tasks.build_revocation_lists",
        "schedule": timedelta(seconds=20),  # a compromised key is listed in a minute
        "options": {"expires": 19},
    },
    "renew ocsp responders": {
        "task": "certificates.tasks.renew_responders",
        "schedule": crontab(minute="12"),
        "options": {"expires": 3500},
    },
    "inspect certificates": {
        "task": "certificates.tasks.inspect_certificates",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "mend certificates": {
        "task": "certificates.tasks.mend",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 290},
    },
    "make metrics partitions ahead": {
        "task": "devices.metrics.tasks.make_partitions_ahead",
        "schedule": crontab(minute="25"),
        "options": {"expires": 3500},
    },
    "settle metrics roll-ups": {
        "task": "devices.metrics.tasks.settle_roll_ups",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "drop outlived metrics": {
        "task": "devices.metrics.tasks.drop_outlived",
        "schedule": crontab(minute="10", hour="2"),
        "options": {"expires": 3600},
    },
    "evaluate monitoring rules": {
        "task": "devices.monitoring.tasks.evaluate_rules",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "work out configurations": {
        "task": "devices.configurations.tasks.work_rounds",
        "schedule": crontab(),  # what a commit could not announce, and what goes on
        "options": {"expires": 55},
    },
    "watch configuration drift": {
        "task": "devices.configurations.tasks.watch_drift",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "drop outlived configuration documents": {
        "task": "devices.configurations.tasks.drop_outlived_documents",
        "schedule": crontab(minute="35", hour="3"),
        "options": {"expires": 3600},
    },
    "work bulk commands": {
        "task": "devices.remote_control.tasks.work_bulk_commands",
        "schedule": crontab(),  # what a commit could not announce, and what goes on
        "options": {"expires": 55},
    },
    "end overdue commands and sessions": {
        "task": "devices.remote_control.tasks.end_overdue",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "drop outlived commands and screenshots": {
        "task": "devices.remote_control.tasks.drop_outlived",
        "schedule": crontab(minute="45", hour="2"),
        "options": {"expires": 3600},
    },
    "work rollouts": {
        "task": "devices.updates.tasks.work_rollouts",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "drop orphaned package files": {
        "task": "devices.updates.tasks.drop_orphans",
        "schedule": crontab(minute="15", hour="4"),
        "options": {"expires": 3600},
    },
    "deliver events": {
        "task": "events.tasks.deliver",
        "schedule": timedelta(seconds=10),  # what a commit could not announce
        "options": {"expires": 9},
    },
    "send to channels": {
        "task": "events.tasks.send",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "drop outlived messages": {
        "task": "events.tasks.drop_outlived_messages",
        "schedule": crontab(minute="55"),
        "options": {"expires": 3500},
    },
    "drop outlived pairings": {
        "task": "devices.registry.tasks.drop_outlived_pairings",
        "schedule": crontab(minute="40"),
        "options": {"expires": 3500},
    },
    "clear outlived sessions": {
        "task": "accounts.tasks.clear_sessions",
        "schedule": crontab(minute="50", hour="3"),
        "options": {"expires": 3600},
    },
    "seal events": {
        "task": "events.tasks.seal",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "drop outlived events": {
        "task": "events.tasks.drop_outlived",
        "schedule": crontab(minute="20", hour="3"),
        "options": {"expires": 3600},
    },
}
