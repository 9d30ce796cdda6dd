"""The pages of rollouts: looked at before, started, watched, stopped, store_uploaded_file back."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from core.errors import DomainError
from devices.registry.admin.quarantine import is_uuid
from devices.updates.admin.rollout_forms import FILTERS, RolloutForm
from devices.updates.models import Deployment, SoftwareUpdate
from devices.updates.services import (
    failures,
    progress,
    rollout_control,
    rollout_decision,
    rollouts,
)
from devices.updates.services.targets import Plan
from tenants.admin.base import person
from tenants.context import tenant_scope
from tenants.roles import visible_to

MANAGE = "updates.change_deployment"
ADD = "updates.add_deployment"
FIELDS = {"windows": "window_days", "filter": "tag"}

State = Deployment.State
Action = Callable[..., Deployment]


def new(request: HttpRequest) -> HttpResponse:
    """Say what, to whom and how; see what that comes to; then make it, or start it."""
    if not request.user.has_perm(ADD):
        raise PermissionDenied
    user = person(request)
    first = request.GET.get("package", "")
    first = first if is_uuid(first) else ""
    form = RolloutForm(request.POST or None, user=user, first=first)
    if request.method != "POST" or not form.is_valid():
        return _form_page(request, form)
    package: SoftwareUpdate = form.cleaned_data["package"]
    with tenant_scope(package.tenant_id):
        try:
            plan = rollouts.preview(
                package=package, said=form.rollout_values(), now=timezone.now()
            )
            if request.POST.get("eligible") != str(plan.eligible) or not plan.eligible:
                return _form_page(request, form, plan=plan)
            rollout = rollouts.create(
                package=package,
                name=form.cleaned_data["name"],
                said=form.rollout_values(),
                by=user,
                now=timezone.now(),
            )
            if "start" in request.POST:
                rollout = rollout_control.start(
                    deployment=rollout, by=user, now=timezone.now()
                )
        except DomainError as error:
            _add_errors(form, error)
            return _form_page(request, form)
    messages.success(request, _state_message(rollout))
    return redirect(change_url(rollout))


def terms(request: HttpRequest, rollout_id: UUID) -> HttpResponse:
    """Say other terms of a rollout."""
    rollout = _rollout(request, rollout_id)
    form = RolloutForm(request.POST or None, user=person(request), rollout=rollout)
    if request.method != "POST" or not form.is_valid():
        return _form_page(request, form, rollout=rollout)
    said = form.changed_values(rollout)
    with tenant_scope(rollout.tenant_id):
        try:
            rollouts.change(
                deployment=rollout,
                name=form.cleaned_data["name"],
                now=timezone.now(),
                **said,
            )
        except DomainError as error:
            _add_errors(form, error)
            return _form_page(request, form, rollout=rollout)
    messages.success(request, "Its terms are changed.")
    return redirect(change_url(rollout))


@require_POST
def act(request: HttpRequest, rollout_id: UUID) -> HttpResponse:
    """Start, approve, pause, resume, abort, retry, go on, roll back, drop."""
    rollout = _rollout(request, rollout_id)
    verb = request.POST.get("verb", "")
    by, now = person(request), timezone.now()
    reason = request.POST.get("reason", "").replace("\x00", "")[:200]
    verbs: dict[str, tuple[Action, dict[str, Any], str]] = {
        "start": (rollout_control.start, {"by": by}, ""),
        "approve": (rollout_control.approve, {"by": by}, ""),
        "pause": (rollout_control.pause, {"reason": reason}, "Paused: nobody begins."),
        "resume": (rollout_control.resume, {}, "It goes on."),
        "abort": (rollout_control.abort, {"reason": reason}, "Aborted."),
        "retry": (rollout_control.retry, {}, "Those that have failed try again."),
        "next": (rollout_control.start_next_wave, {}, "The next wave begins."),
        "rollback": (
            rollout_control.roll_back,
            {"by": by},
            "They are told to go back.",
        ),
    }
    with tenant_scope(rollout.tenant_id):
        try:
            if verb == "delete":
                rollouts.delete(deployment=rollout)
                messages.success(request, "Dropped.")
                return redirect("admin:updates_deployment_changelist")
            if verb not in verbs:
                raise Http404
            do, more, sentence = verbs[verb]
            rollout = do(deployment=rollout, now=now, **more)
            messages.success(request, sentence or _state_message(rollout))
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(change_url(rollout))


def page_context(request: HttpRequest, rollout: Deployment) -> dict[str, Any]:
    """For the page of one, under its tenant."""
    now = timezone.now()
    waves = list(rollout.waves.all())
    running = next((wave for wave in waves if wave.state == "running"), None)
    counts = progress.total_counts(rollout)
    devices = reverse("admin:updates_updatestatus_changelist")
    return {
        "rollout": rollout,
        "rollout_bar": progress.bar(counts, rollout.counted),
        "rollout_done": counts.get("completed", 0) + counts.get("rolled_back", 0),
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
        "facts": progress.settings_summary(rollout),
        "devices_address": f"{devices}?deployment__id__exact={rollout.pk}",
        "terms_address": reverse("admin:updates_rollout_terms", args=[rollout.pk]),
        "act_address": reverse("admin:updates_rollout_act", args=[rollout.pk]),
        "may": _permitted_actions(request, rollout, counts, waves),
        "rollback_address": _rollback_url(rollout),
        "rolls_back_address": change_url(rollout.rolls_back)
        if rollout.rolls_back
        else "",
    }


def total_devices(counts: dict[str, int]) -> int:
    return sum(
        number for name, number in counts.items() if name not in ("unreached", "away")
    )


def change_url(rollout: Deployment) -> str:
    return reverse("admin:updates_deployment_change", args=[rollout.pk])


def _rollback_url(rollout: Deployment) -> str:
    back = rollout.rollbacks.first()
    return change_url(back) if back else ""


def _permitted_actions(
    request: HttpRequest, rollout: Deployment, counts: dict[str, int], waves: list[Any]
) -> dict[str, bool]:
    """What this person may do with it as it stands."""
    if not request.user.has_perm(MANAGE):
        return {}
    state = rollout.state
    by = person(request).pk
    is_going = state in (State.SCHEDULED, State.RUNNING, State.PAUSED)
    took_it = rollout.statuses.filter(started_at__isnull=False)
    is_taken_back = rollout.rollbacks.exclude(state=State.ABORTED).exists()
    is_waited_for = state == State.FINISHED and rollout.statuses.open().exists()
    is_own = by in (rollout.requested_by_id, rollout.created_by_id)
    running = next((wave for wave in waves if wave.state == "running"), None)
    return {
        "start": state == State.DRAFT,
        "approve": state == State.WAITING and not is_own,
        "pause": state in (State.SCHEDULED, State.RUNNING) or is_waited_for,
        "resume": state == State.PAUSED,
        "abort": is_going or state == State.WAITING or is_waited_for,
        "retry": bool(counts.get("failed"))
        and not is_taken_back
        and state in (State.RUNNING, State.PAUSED, State.FINISHED),
        "next": state == State.RUNNING
        and running is not None
        and running.is_open
        and any(wave.state == "waiting" for wave in waves),
        "rollback": rollout.package is not None
        and state not in (State.DRAFT, State.WAITING, State.SCHEDULED)
        and not is_taken_back
        and took_it.exists(),
        "change": rollout.package is not None
        and state not in (State.FINISHED, State.ABORTED),
        "delete": state in (State.DRAFT, State.WAITING),
    }


def _state_message(rollout: Deployment) -> str:
    match rollout.state:
        case State.WAITING:
            return "It waits for a second person to approve it."
        case State.SCHEDULED:
            return f"It begins at {rollout.starts_at:%Y-%m-%d %H:%M} UTC."
        case State.RUNNING:
            return f"It goes out to {rollout.counted:,} devices."
        case _:
            return "It is a draft: no device has it."


def _add_errors(form: RolloutForm, error: DomainError) -> None:
    """Each fault beside its field; on the whole where there is none."""
    told = [(d.field, d.sentence) for d in error.details] or [
        (error.field or "", str(error))
    ]
    for field, sentence in told:
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
        "title": f"Terms of {rollout.name}" if rollout else "New rollout",
        "form": form,
        "rollout": rollout,
        "plan": plan,
        "has_packages": form.has_packages(),
        "parts": _field_groups(form),
        "left_out": [(_EXCLUSION_LABELS[why], n) for why, n in plan.left_out.items()]
        if plan
        else [],
        "back": change_url(rollout)
        if rollout
        else reverse("admin:updates_deployment_changelist"),
    }
    return TemplateResponse(request, "portal/rollout_new.html", context)


_EXCLUSION_LABELS = {
    "model": "of other models",
    "minimum_version": "with a version that is too old",
    "up_to_date": "that have it already",
    "newer": "with a newer version",
}


def _field_groups(form: RolloutForm) -> list[tuple[str, list[Any]]]:
    groups = (
        ("What", ("package", "name")),
        ("For which devices", FILTERS),
        ("In which steps", ("waves", "rate", "starts_at")),
        (
            "When it has succeeded, and when it stops",
            (
                *("soak_minutes", "deadline_minutes"),
                *("success_percent", "failure_percent"),
            ),
        ),
        ("When devices may be updated", ("window_days", "window_from", "window_until")),
    )
    return [(title, [form[name] for name in names]) for title, names in groups]


def _rollout(request: HttpRequest, rollout_id: UUID) -> Deployment:
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    rows = visible_to(person(request), Deployment).select_related(
        "product", "package__product"
    )
    rollout: Deployment | None = rows.filter(pk=rollout_id).first()
    if rollout is None:
        raise Http404
    return rollout
