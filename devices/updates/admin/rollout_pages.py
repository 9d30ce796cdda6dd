"""Portal pages to preview, create, change, watch and control rollouts."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from core import clock
from core.errors import DomainError
from core.times import local_text
from devices.registry.admin import selection
from devices.registry.admin.quarantine import is_uuid
from devices.updates.admin.rollout_forms import FILTERS, RolloutForm
from devices.updates.models import Deployment
from devices.updates.services import failures, progress, rollout_control, rollout_decision, rollouts
from devices.updates.services.targets import Plan
from tenants.admin.base import signed_in_user
from tenants.context import tenant_scope
from tenants.roles import visible_to

MANAGE = "updates.change_deployment"
ADD = "updates.add_deployment"
NEW_PAGE = "admin:updates_deployment_add"
FIELDS = {"windows": "window_days", "filter": "tag"}  # setting → form field for its errors

State = Deployment.State
Action = Callable[..., Deployment]


def add_rollout(request: HttpRequest) -> HttpResponse:
    """Show the form and a preview of the devices, then create or start the rollout.

    The rollout is created only if the number of devices has not changed since the preview.
    """
    if not request.user.has_perm(ADD):
        raise PermissionDenied
    user = signed_in_user(request)
    package_id = request.GET.get("package", "")
    package_id = package_id if is_uuid(package_id) else ""
    initial = selection.taken_over(request)
    form = RolloutForm(request.POST or None, user=user, package_id=package_id, initial=initial)
    if request.method != "POST" or not form.is_valid():
        return _form_page(request, form)
    package = form.cleaned_data["package"]
    with tenant_scope(package.tenant_id):
        try:
            plan = rollouts.preview(package=package, values=form.rollout_values(), now=clock.now())
            if request.POST.get("eligible") != str(plan.eligible) or not plan.eligible:
                return _form_page(request, form, plan=plan)
            rollout = rollouts.create(
                package=package,
                name=form.cleaned_data["name"],
                values=form.rollout_values(),
                by=user,
                now=clock.now(),
            )
            if "start" in request.POST:
                rollout = rollout_control.start(deployment=rollout, by=user, now=clock.now())
        except DomainError as error:
            _add_errors(form, error)
            return _form_page(request, form)
    messages.success(request, _state_message(rollout))
    return redirect(change_url(rollout))


def change_settings(request: HttpRequest, rollout_id: UUID) -> HttpResponse:
    """Change the settings of a rollout."""
    rollout = _rollout(request, rollout_id)
    form = RolloutForm(request.POST or None, user=signed_in_user(request), rollout=rollout)
    if request.method != "POST" or not form.is_valid():
        return _form_page(request, form, rollout=rollout)
    values = form.changed_values(rollout)
    with tenant_scope(rollout.tenant_id):
        try:
            rollouts.change(
                deployment=rollout, name=form.cleaned_data["name"], now=clock.now(), **values
            )
        except DomainError as error:
            _add_errors(form, error)
            return _form_page(request, form, rollout=rollout)
    messages.success(request, "The settings of the rollout were changed.")
    return redirect(change_url(rollout))


@require_POST
def act(request: HttpRequest, rollout_id: UUID) -> HttpResponse:
    """Run the action of a button: start, approve, pause, resume, abort and so on."""
    rollout = _rollout(request, rollout_id)
    name = request.POST.get("verb", "")
    by, now = signed_in_user(request), clock.now()
    reason = request.POST.get("reason", "").replace("\x00", "")[:200]
    actions: dict[str, tuple[Action, dict[str, Any], str]] = {
        "start": (rollout_control.start, {"by": by}, ""),
        "approve": (rollout_control.approve, {"by": by}, ""),
        "pause": (
            rollout_control.pause,
            {"reason": reason},
            "The rollout is paused. No more devices start the update.",
        ),
        "resume": (rollout_control.resume, {}, "The rollout is resumed."),
        "abort": (rollout_control.abort, {"reason": reason}, "The rollout is aborted."),
        "retry": (rollout_control.retry, {}, "The failed devices get another attempt."),
        "next": (rollout_control.start_next_wave, {}, "The next wave starts."),
        "rollback": (rollout_control.roll_back, {"by": by}, "The rollback has started."),
    }
    with tenant_scope(rollout.tenant_id):
        try:
            if name == "delete":
                rollouts.delete(deployment=rollout)
                messages.success(request, "The rollout was deleted.")
                return redirect("admin:updates_deployment_changelist")
            if name not in actions:
                raise Http404
            action, arguments, sentence = actions[name]
            rollout = action(deployment=rollout, now=now, **arguments)
            messages.success(request, sentence or _state_message(rollout))
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(change_url(rollout))


def page_context(request: HttpRequest, rollout: Deployment) -> dict[str, Any]:
    """Return the template context of a rollout's page. The caller must set the tenant."""
    now = clock.now()
    waves = list(rollout.waves.all())
    running = next((wave for wave in waves if wave.state == "running"), None)
    counts = progress.total_counts(rollout)
    devices = reverse("admin:updates_updatestatus_changelist")
    return {
        "rollout": rollout,
        "rollout_bar": progress.bar(counts, rollout.counted),
        "completed_devices": counts.get("completed", 0) + counts.get("rolled_back", 0),
        "rollout_waves": [
            (
                wave,
                progress.size_text(wave),
                progress.bar(wave.counts, total_devices(wave.counts)),
                wave.counts,
            )
            for wave in waves
        ],
        "waits_for": rollout_decision.waits_for(
            running, success_percent=rollout.success_percent, now=now
        )
        if running
        else "",
        "chart": progress.completion_chart(rollout, now=now),
        "failures": failures.by_error_code(rollout),
        "settings_summary": progress.settings_summary(rollout),
        "course": list(_course(rollout)),
        "devices_url": f"{devices}?deployment__id__exact={rollout.pk}",
        "terms_url": reverse("admin:updates_rollout_terms", args=[rollout.pk]),
        "action_url": reverse("admin:updates_rollout_act", args=[rollout.pk]),
        "allowed": _permitted_actions(request, rollout, counts, waves),
        "rollback_url": _rollback_url(rollout),
        "rolls_back_url": change_url(rollout.rolls_back) if rollout.rolls_back else "",
    }


def _course(rollout: Deployment) -> Iterator[tuple[str, str]]:
    """Yield what has happened to a rollout, when, and by whom."""
    for label, moment, user in (
        ("Created", rollout.created_at, rollout.created_by),
        ("Started", rollout.begun_at, rollout.requested_by),
        ("Ended", rollout.ended_at, None),
    ):
        if moment is not None:
            yield label, f"{local_text(moment)}, by {user}" if user else local_text(moment)
    if rollout.approved_by is not None:
        yield "Approved by", str(rollout.approved_by)
    yield "Id", str(rollout.pk)


def total_devices(counts: dict[str, int]) -> int:
    return sum(number for name, number in counts.items() if name not in ("unreached", "away"))


def change_url(rollout: Deployment) -> str:
    return reverse("admin:updates_deployment_change", args=[rollout.pk])


def _rollback_url(rollout: Deployment) -> str:
    rollback = rollout.rollbacks.first()
    return change_url(rollback) if rollback else ""


def _permitted_actions(
    request: HttpRequest, rollout: Deployment, counts: dict[str, int], waves: list[Any]
) -> dict[str, bool]:
    """Return for each action whether the signed-in user gets its button."""
    if not request.user.has_perm(MANAGE):
        return {}
    state = rollout.state
    by = signed_in_user(request).pk
    is_active = state in (State.SCHEDULED, State.RUNNING, State.PAUSED)
    started = rollout.statuses.filter(started_at__isnull=False)
    is_rolled_back = rollout.rollbacks.exclude(state=State.ABORTED).exists()
    has_late_devices = state == State.FINISHED and rollout.statuses.open().exists()
    is_own = by in (rollout.requested_by_id, rollout.created_by_id)
    running = next((wave for wave in waves if wave.state == "running"), None)
    return {
        "start": state == State.DRAFT,
        "approve": state == State.WAITING and not is_own,
        "pause": state in (State.SCHEDULED, State.RUNNING) or has_late_devices,
        "resume": state == State.PAUSED,
        "abort": is_active or state == State.WAITING or has_late_devices,
        "retry": bool(counts.get("failed"))
        and not is_rolled_back
        and state in (State.RUNNING, State.PAUSED, State.FINISHED),
        "next": state == State.RUNNING
        and running is not None
        and running.is_open
        and any(wave.state == "waiting" for wave in waves),
        "rollback": rollout.package is not None
        and state not in (State.DRAFT, State.WAITING, State.SCHEDULED)
        and not is_rolled_back
        and started.exists(),
        "change": rollout.package is not None and state not in (State.FINISHED, State.ABORTED),
        "delete": state in (State.DRAFT, State.WAITING),
    }


def _state_message(rollout: Deployment) -> str:
    match rollout.state:
        case State.WAITING:
            return "The rollout waits for the approval of a second member."
        case State.SCHEDULED:
            assert rollout.starts_at is not None
            return f"The rollout starts at {local_text(rollout.starts_at)}."
        case State.RUNNING:
            return f"The rollout to {rollout.counted:,} devices has started."
        case _:
            return "The rollout is a draft. No device is offered the update yet."


def _add_errors(form: RolloutForm, error: DomainError) -> None:
    """Add each error to its form field, or to the form if the form has no such field."""
    errors = [(detail.field, detail.sentence) for detail in error.details]
    for field, sentence in errors or [(error.field or "", str(error))]:
        name = field.removeprefix("filter.").split(".")[0]
        name = FIELDS.get(name, name)
        form.add_error(name if name in form.fields else None, sentence)


def _form_page(
    request: HttpRequest,
    form: RolloutForm,
    *,
    plan: Plan | None = None,
    rollout: Deployment | None = None,
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": f"Settings of {rollout.name}" if rollout else "New rollout",
        "form": form,
        "rollout": rollout,
        "plan": plan,
        "has_packages": form.has_packages(),
        "field_groups": _field_groups(form),
        "left_out": [
            (_EXCLUSION_LABELS[reason], number) for reason, number in plan.left_out.items()
        ]
        if plan
        else [],
        "back_url": change_url(rollout)
        if rollout
        else reverse("admin:updates_deployment_changelist"),
    }
    return TemplateResponse(request, "portal/rollout_new.html", context)


_EXCLUSION_LABELS = {
    "model": "of another model",
    "minimum_version": "below the minimum version",
    "android_version": "with an older Android than the package needs",
    "abi": "with a processor that the package does not support",
    "up_to_date": "with this version",
    "newer": "with a newer version",
}


def _field_groups(form: RolloutForm) -> list[tuple[str, list[Any]]]:
    groups = (
        ("Package", ("package", "name")),
        ("Devices", (*FILTERS, "dynamic")),
        ("Waves", ("waves", "rate", "starts_at")),
        (
            "Success and failure",
            ("soak_minutes", "deadline_minutes", "success_percent", "failure_percent"),
        ),
        ("Maintenance window", ("window_days", "window_from", "window_until")),
    )
    return [
        (title, [form[name] for name in names if name in form.fields]) for title, names in groups
    ]


def _rollout(request: HttpRequest, rollout_id: UUID) -> Deployment:
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    visible = visible_to(signed_in_user(request), Deployment).select_related(
        "product", "package__product"
    )
    return get_object_or_404(visible.filter(pk=rollout_id))


def list_actions(request: HttpRequest) -> list[tuple[str, str, Any]]:
    """Return the action of the device list that opens a new rollout to the selected devices."""
    if not request.user.has_perm(ADD):
        return []
    return [("roll_out", "Roll out an update", partial(selection.hand_over, NEW_PAGE))]
