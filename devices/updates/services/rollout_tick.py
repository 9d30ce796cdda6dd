"""Advance rollouts in bounded steps: load a snapshot, decide, apply the decision.

Each step is one transaction that locks its deployment. Other workers skip locked
deployments. If a worker is killed, the transaction of its step is rolled back. A step that
fails does not delay other rollouts.
"""

import logging
import time
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import package_files, rollout_control, status_changes
from devices.updates.services.rollout_actions import apply_to_devices, apply_to_waves
from devices.updates.services.rollout_decision import decide_devices, decide_waves
from devices.updates.services.rollout_snapshot import load_devices, load_progress
from tenants.context import tenant_scope
from tenants.fairness import random_tenant_first

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=1)  # after a step that failed
LOAD_FACTOR = 20  # minimum time until the next step, as a multiple of a step's duration


def advance_next_rollout(*, now: datetime) -> bool:
    """Run one step of a due rollout. The tenants take turns. Return True if there was work."""
    with transaction.atomic():
        has_cancelled = cancel_updates_of_withdrawn_package(now=now)
    with transaction.atomic():
        due = Deployment.every_tenant.due(now).order_by(random_tenant_first(), "due_at", "id")
        due = due.select_related("product", "package__product", "rolls_back__product")
        rollout = due.select_for_update(skip_locked=True, of=("self",)).first()
        if rollout is None:
            return has_cancelled
        with tenant_scope(rollout.tenant_id):
            _advance_safely(rollout, now)
    return True


def advance(rollout: Deployment, *, now: datetime) -> None:
    """Run one step of a locked rollout. Handle the waves if no device has to be handled."""
    started = time.monotonic()
    if rollout.state == Deployment.State.ABORTED:
        rollout_control.extend_rollback(rollout, now)
    decision = decide_devices(load_devices(rollout, now=now), now=now)
    due_at: datetime | None = now
    if decision.wait_until is not None:
        due_at = decision.wait_until
    elif not apply_to_devices(rollout, decision, now=now):
        progress = load_progress(rollout, now=now)
        waves = decide_waves(progress, now=now)
        apply_to_waves(rollout, progress, waves, now=now)
        if not waves.changes_rollout:
            spent = LOAD_FACTOR * timedelta(seconds=time.monotonic() - started)
            interval = waves.interval
            due_at = None if interval is None else now + max(interval, spent)
    rollout.due_at = due_at
    rollout.save()


def cancel_updates_of_withdrawn_package(*, now: datetime) -> bool:
    """Cancel waiting updates of one withdrawn package. Return True if updates were cancelled.

    The package's file is deleted once no update waits for it.
    """
    closing = SoftwareUpdate.every_tenant.filter(is_closing=True)
    package = (
        closing.order_by(random_tenant_first(), "withdrawn_at")
        .select_for_update(skip_locked=True, no_key=True, of=("self",))
        .first()
    )
    if package is None:
        return False
    waiting = UpdateStatus.every_tenant.stoppable().filter(package=package)
    rows = status_changes.lock(waiting.select_related("deployment"))
    sentence = "The package was withdrawn."
    status_changes.cancel(rows, code="withdrawn", sentence=sentence, now=now)
    if not waiting.exists():
        delete_file = partial(package_files.delete, package.stored_name)
        transaction.on_commit(delete_file, robust=True)
        package.is_closing, package.stored_name = False, ""
        package.save(update_fields=["is_closing", "stored_name"])
    return bool(rows)


def _advance_safely(rollout: Deployment, now: datetime) -> None:
    try:
        with transaction.atomic():
            advance(rollout, now=now)
    except Exception:  # logged; other rollouts continue
        logger.exception("A step of a rollout failed", extra={"rollout": rollout.pk})
        Deployment.objects.filter(pk=rollout.pk).update(due_at=now + RETRY_AFTER)
