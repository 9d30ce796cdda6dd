"""The schedule of Celery beat. A task that did not start before it expires is dropped."""

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
        "schedule": timedelta(seconds=20),  # revocations are listed within a minute
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
    "repair certificates": {
        "task": "certificates.tasks.repair_certificates",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 290},
    },
    "create metrics partitions": {
        "task": "devices.metrics.tasks.create_partitions",
        "schedule": crontab(minute="25"),
        "options": {"expires": 3500},
    },
    "finalise metrics roll-ups": {
        "task": "devices.metrics.tasks.finalise_rollups",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "drop expired metrics partitions": {
        "task": "devices.metrics.tasks.drop_expired_partitions",
        "schedule": crontab(minute="10", hour="2"),
        "options": {"expires": 3600},
    },
    "evaluate monitoring rules": {
        "task": "devices.monitoring.tasks.evaluate_rules",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "recalculate configurations": {
        "task": "devices.configurations.tasks.recalculate",
        "schedule": crontab(),  # work in progress, and changes whose trigger was lost
        "options": {"expires": 55},
    },
    "detect configuration drift": {
        "task": "devices.configurations.tasks.detect_drift",
        "schedule": crontab(),
        "options": {"expires": 55},
    },
    "delete unused configuration documents": {
        "task": "devices.configurations.tasks.delete_unused_documents",
        "schedule": crontab(minute="35", hour="3"),
        "options": {"expires": 3600},
    },
    "run bulk commands": {
        "task": "devices.remote_control.tasks.run_bulk_commands",
        "schedule": crontab(),  # work in progress, and changes whose trigger was lost
        "options": {"expires": 55},
    },
    "expire commands and sessions": {
        "task": "devices.remote_control.tasks.expire_commands_and_sessions",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "delete expired commands and screenshots": {
        "task": "devices.remote_control.tasks.delete_expired",
        "schedule": crontab(minute="45", hour="2"),
        "options": {"expires": 3600},
    },
    "advance rollouts": {
        "task": "devices.updates.tasks.advance_rollouts",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "delete orphaned package files": {
        "task": "devices.updates.tasks.delete_orphaned_files",
        "schedule": crontab(minute="15", hour="4"),
        "options": {"expires": 3600},
    },
    "deliver events": {
        "task": "events.tasks.deliver_events",
        "schedule": timedelta(seconds=10),  # events whose trigger was lost
        "options": {"expires": 9},
    },
    "send to channels": {
        "task": "events.tasks.send_to_channels",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "delete expired messages": {
        "task": "events.tasks.delete_expired_messages",
        "schedule": crontab(minute="55"),
        "options": {"expires": 3500},
    },
    "delete expired pairings": {
        "task": "devices.registry.tasks.delete_expired_pairings",
        "schedule": crontab(minute="40"),
        "options": {"expires": 3500},
    },
    "delete expired sessions": {
        "task": "accounts.tasks.clear_sessions",
        "schedule": crontab(minute="50", hour="3"),
        "options": {"expires": 3600},
    },
    "seal events": {
        "task": "events.tasks.seal_events",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 9},
    },
    "delete expired events": {
        "task": "events.tasks.delete_expired_events",
        "schedule": crontab(minute="20", hour="3"),
        "options": {"expires": 3600},
    },
}

# Former task name → current name. Messages in the queues may still use the former names.
RENAMED_TASKS: dict[str, str] = {
    "certificates.tasks.mend": "certificates.tasks.repair_certificates",
    "devices.configurations.tasks.drop_outlived_documents": "devices.configurations.tasks.delete_unused_documents",
    "devices.configurations.tasks.watch_drift": "devices.configurations.tasks.detect_drift",
    "devices.configurations.tasks.work_rounds": "devices.configurations.tasks.recalculate",
    "devices.metrics.tasks.drop_outlived": "devices.metrics.tasks.drop_expired_partitions",
    "devices.metrics.tasks.make_partitions_ahead": "devices.metrics.tasks.create_partitions",
    "devices.metrics.tasks.settle_roll_ups": "devices.metrics.tasks.finalise_rollups",
    "devices.remote_control.tasks.drop_outlived": "devices.remote_control.tasks.delete_expired",
    "devices.remote_control.tasks.end_overdue": "devices.remote_control.tasks.expire_commands_and_sessions",
    "devices.remote_control.tasks.work_bulk_commands": "devices.remote_control.tasks.run_bulk_commands",
    "devices.tasks.drop_outlived_pairings": "devices.registry.tasks.delete_expired_pairings",
    "devices.tasks.sweep_device_status": "devices.registry.tasks.sweep_device_status",
    "devices.updates.tasks.drop_orphans": "devices.updates.tasks.delete_orphaned_files",
    "devices.updates.tasks.work_rollouts": "devices.updates.tasks.advance_rollouts",
    "events.tasks.deliver": "events.tasks.deliver_events",
    "events.tasks.drop_outlived": "events.tasks.delete_expired_events",
    "events.tasks.drop_outlived_messages": "events.tasks.delete_expired_messages",
    "events.tasks.seal": "events.tasks.seal_events",
    "events.tasks.send": "events.tasks.send_to_channels",
    "tenants.tasks.clear_sessions": "accounts.tasks.clear_sessions",
}
