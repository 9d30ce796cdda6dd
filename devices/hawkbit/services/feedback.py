"""Translate what devices report about actions into the reports of this server's updates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.hawkbit.errors import ActionClosed
from devices.hawkbit.models import HawkbitAction
from devices.hawkbit.services import actions
from devices.registry.models import Device
from devices.registry.queries import lock_device
from devices.registry.services import presence
from devices.registry.services.presence import ConnectReport
from devices.updates.errors import UpdateEnded
from devices.updates.models import SoftwareProduct, Status, UpdateStatus
from devices.updates.services import feedback
from devices.updates.services.feedback import MAX_ERROR_LENGTH

CLOSED = "closed"
CANCELLED = "canceled"
FAILURE = "failure"
DOWNLOADED = "downloaded"
ENDS_OF_CANCELLATION = (CLOSED, CANCELLED, "rejected")
MAX_DETAILS = 50


@dataclass(frozen=True, slots=True)
class Feedback:
    """A report of a device about an action.

    Attributes:
        execution: such as `proceeding` or `closed`. An unknown word counts as `proceeding`.
        finished: `success`, `failure` or `none`.
        progress: percent; None if it is not reported.
        code: a number that the device's software gives; "" without one.
        details: sentences.
    """

    execution: str
    finished: str
    progress: int | None
    code: str
    details: tuple[str, ...]


def read_feedback(body: Mapping[str, Any]) -> Feedback:
    """Read a report as far as it is usable."""
    status = _object(body.get("status"))
    result = _object(status.get("result"))
    details = status.get("details")
    texts = details if isinstance(details, list) else [details] if details else []
    code = status.get("code")
    return Feedback(
        execution=_word(status.get("execution")),
        finished=_word(result.get("finished")),
        progress=_percent(_object(result.get("progress"))),
        code=str(code) if isinstance(code, int) and not isinstance(code, bool) else "",
        details=tuple(_clean(text) for text in texts[:MAX_DETAILS] if isinstance(text, str)),
    )


def record_feedback(
    *, device: Device, action: HawkbitAction, report: Feedback, now: datetime
) -> None:
    """Record a report about an action.

    `closed` with success means that the device runs the new version: hawkBit's devices do
    not report versions otherwise. The update is complete after its soak time. This counts even if
    the update was cancelled while the device installed it.

    Raises:
        ActionClosed: the action has ended, or its update was cancelled.
    """
    update = actions.update_of(action)
    is_current = update is not None and update.attempt == action.attempt
    if action.closed_at is not None or update is None or not is_current:
        raise ActionClosed
    actions.add_messages(action, report.details)
    has_succeeded = report.execution == CLOSED and report.finished != FAILURE
    try:
        with transaction.atomic():  # the report, the version and the end of the action
            _record(device, action, update, report, now)
    except UpdateEnded as error:
        if not has_succeeded:
            raise ActionClosed from error
        with transaction.atomic():
            _report_version(device, update, now)
            actions.close_action(action, has_succeeded=True, now=now)


def _record(
    device: Device, action: HawkbitAction, update: UpdateStatus, report: Feedback, now: datetime
) -> None:
    if report.execution == CANCELLED:
        _report(device, action, feedback.FAILED, now, error_code="canceled", error=_text(report))
    elif report.execution == CLOSED and report.finished == FAILURE:
        code = f"code_{report.code}" if report.code else ""
        _report(device, action, feedback.FAILED, now, error_code=code, error=_text(report))
    elif report.execution == CLOSED:
        # Retirement locks the device before its updates too; otherwise both might wait forever.
        lock_device(device.pk)
        _report(device, action, feedback.INSTALLED, now)
        _report_version(device, update, now)
        actions.close_action(action, has_succeeded=True, now=now)
        return
    else:
        _report_progress(device, action, update, report, now)
        return
    actions.close_action(action, now=now)


def _report_progress(
    device: Device, action: HawkbitAction, update: UpdateStatus, report: Feedback, now: datetime
) -> None:
    is_installing = update.status == Status.INSTALLING or report.execution == DOWNLOADED
    status = feedback.INSTALLING if is_installing else feedback.DOWNLOADING
    progress = 0 if report.execution == DOWNLOADED else report.progress
    _report(device, action, status, now, progress=update.progress if progress is None else progress)


def _report(
    device: Device, action: HawkbitAction, status: str, now: datetime, **fields: Any
) -> None:
    feedback.record_feedback(
        device=device,
        deployment_id=action.deployment_id,
        attempt=action.attempt,
        status=status,
        now=now,
        **fields,
    )


def _report_version(device: Device, update: UpdateStatus, now: datetime) -> None:
    is_app = update.deployment.product.reports == SoftwareProduct.Reports.APP_VERSION
    report = ConnectReport(
        app_version=update.version if is_app else None,
        os_version=None if is_app else update.version,
    )
    presence.connect(device=device, report=report, now=now)


def _text(report: Feedback) -> str:
    return " ".join(report.details)[:MAX_ERROR_LENGTH]


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _word(value: Any) -> str:
    return value.strip().lower()[:20] if isinstance(value, str) else ""


def _percent(progress: Mapping[str, Any]) -> int | None:
    done, total = progress.get("cnt"), progress.get("of")
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return None
    return max(0, min(100, 100 * done // total))


def _clean(text: str) -> str:
    """Return a text that the database accepts."""
    return text.encode(errors="replace").decode().replace("\x00", "")
