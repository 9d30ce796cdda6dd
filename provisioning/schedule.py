"""The schedule of Celery beat, and the tasks that have a queue of their own."""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

MINUTELY = (crontab(), 55)
TEN_SECONDS = (timedelta(seconds=10), 9)


def _hourly(minute: int) -> tuple[crontab, int]:
    return crontab(minute=str(minute)), 3500


def _daily(hour: int, minute: int) -> tuple[crontab, int]:
    return crontab(minute=str(minute), hour=str(hour)), 3600


# name: (task, (schedule, seconds after which a task that has not started is dropped))
_ENTRIES: dict[str, tuple[str, tuple[crontab | timedelta, int]]] = {
    "sweep device status": ("devices.registry.tasks.sweep_device_status", MINUTELY),
    "check certificate expirations": ("certificates.tasks.check_expirations", _hourly(7)),
    "renew due certificates": ("certificates.tasks.renew_due", MINUTELY),
    # Revocations are listed within a minute.
    "build revocation lists": (
        "certificates.tasks.build_revocation_lists",
        (timedelta(seconds=20), 19),
    ),
    "renew ocsp responders": ("certificates.tasks.renew_responders", _hourly(12)),
    "inspect certificates": ("certificates.tasks.inspect_certificates", MINUTELY),
    "repair certificates": ("certificates.tasks.repair_certificates", (crontab(minute="*/5"), 290)),
    "create metrics partitions": ("devices.metrics.tasks.create_partitions", _hourly(25)),
    "finalise metrics roll-ups": ("devices.metrics.tasks.finalise_rollups", MINUTELY),
    "drop expired metrics partitions": (
        "devices.metrics.tasks.drop_expired_partitions",
        _daily(2, 10),
    ),
    "evaluate monitoring rules": ("devices.monitoring.tasks.evaluate_rules", MINUTELY),
    # Changes also trigger recalculations and bulk commands. Beat continues unfinished work.
    "recalculate configurations": ("devices.configurations.tasks.recalculate", MINUTELY),
    "detect configuration drift": ("devices.configurations.tasks.detect_drift", MINUTELY),
    "delete unused configuration documents": (
        "devices.configurations.tasks.delete_unused_documents",
        _daily(3, 35),
    ),
    "run bulk commands": ("devices.remote_control.tasks.run_bulk_commands", MINUTELY),
    "run bulk operations": ("devices.bulk.tasks.run_bulk_operations", MINUTELY),
    "delete old bulk operations": ("devices.bulk.tasks.delete_old_bulk_operations", _hourly(45)),
    "run imports": ("devices.imports.tasks.run_imports", MINUTELY),
    "delete old imports": ("devices.imports.tasks.delete_old_imports", _daily(3, 5)),
    "take scheduled screenshots": (
        "devices.remote_control.tasks.take_scheduled_screenshots",
        MINUTELY,
    ),
    "expire commands and sessions": (
        "devices.remote_control.tasks.expire_commands_and_sessions",
        TEN_SECONDS,
    ),
    "delete expired commands and screenshots": (
        "devices.remote_control.tasks.delete_expired",
        _daily(2, 45),
    ),
    "advance rollouts": ("devices.updates.tasks.advance_rollouts", TEN_SECONDS),
    "delete orphaned package files": ("devices.updates.tasks.delete_orphaned_files", _daily(4, 15)),
    "compute missing hashes": ("devices.updates.tasks.compute_missing_hashes", _hourly(35)),
    "deliver events": ("events.tasks.deliver_events", TEN_SECONDS),  # if a trigger was lost
    "send to channels": ("events.tasks.send_to_channels", TEN_SECONDS),
    "report failing channels": ("events.tasks.report_failing_channels", _hourly(50)),
    "delete expired messages": ("events.tasks.delete_expired_messages", _hourly(55)),
    "delete old unreadable fields": (
        "devices.registry.tasks.delete_old_unreadable_fields",
        _daily(2, 25),
    ),
    "delete values of deleted attributes": (
        "devices.registry.tasks.delete_attribute_values",
        _hourly(20),
    ),
    "delete expired pairings": ("devices.registry.tasks.delete_expired_pairings", _hourly(40)),
    "delete expired sessions": ("accounts.tasks.clear_sessions", _daily(3, 50)),
    "delete old idempotent requests": ("accounts.tasks.delete_old_idempotent_requests", _hourly(5)),
    # Each report once a week. The later runs of the day send what an earlier one could not.
    "send weekly reports": (
        "provisioning.tasks.send_weekly_reports",
        (crontab(minute="15", hour="5-9", day_of_week="mon"), 3500),
    ),
    "delete due tenants": ("provisioning.tasks.delete_due_tenants", (crontab(minute="*/5"), 290)),
    "seal events": ("events.tasks.seal_events", TEN_SECONDS),
    "delete expired events": ("events.tasks.delete_expired_events", MINUTELY),
}
BEAT: dict[str, dict[str, Any]] = {
    name: {"task": task, "schedule": schedule, "options": {"expires": expires}}
    for name, (task, (schedule, expires)) in _ENTRIES.items()
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

# Slow tasks. Short ones never wait behind them.
ROUTES = {
    task: {"queue": "bulk"}
    for task in (
        "certificates.tasks.renew",
        "devices.registry.tasks.delete_attribute_values",
        "provisioning.tasks.delete_due_tenants",
        "provisioning.tasks.send_weekly_reports",
        "devices.configurations.tasks.recalculate",
        "devices.bulk.tasks.run_bulk_operations",
        "devices.imports.tasks.run_imports",
        "devices.metrics.tasks.finalise_rollups",
        "devices.updates.tasks.compute_missing_hashes",
        "devices.updates.tasks.delete_orphaned_files",
        "events.tasks.send_to_channels",  # waits for remote servers
    )
}
