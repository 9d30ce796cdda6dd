"""Portal actions for quarantine and for re-registration requests."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import action

from core import clock
from core.templatetags.portal import relative_time
from devices.registry.models import Device, DeviceQuerySet, IdentifierConflict
from devices.registry.services import quarantine, reregistration
from devices.registry.services.reregistration import REQUEST_VALIDITY
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    confirmation_page,
    confirmed_action,
    results_page,
    run_for_each,
)

MAX_CONFLICTS = 5  # shown on the page of a device
QUARANTINE_ACTIONS = ("quarantine_selected", "release_selected", "allow_selected", "deny_selected")
QUARANTINE_DETAIL_ACTIONS = ("quarantine_one", "release_one")


class PendingDecisionFilter(admin.SimpleListFilter):
    """Filter devices in quarantine, or devices that request to register again."""

    title = "pending decision"
    parameter_name = "pending"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("quarantine", "In quarantine"), ("asking", "Requests re-registration")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        match self.value():
            case "quarantine":
                return queryset.quarantined()
            case "asking":
                return queryset.requesting_reregistration(clock.now() - REQUEST_VALIDITY)
        return queryset


class QuarantineActions(PortalAdmin):
    """Admin actions that quarantine devices and decide re-registration requests."""

    @admin.display(description="Pending decisions")
    def pending_decisions(self, device: Device) -> str:
        known: str | None = getattr(device, "_pending_decisions", None)
        if known is None:  # the form asks several times
            known = self._pending_decisions(device)
            setattr(device, "_pending_decisions", known)  # noqa: B010 # no field of the model
        return known

    def _pending_decisions(self, device: Device) -> str:
        items = []
        if device.quarantined_at is not None:
            since = relative_time(device.quarantined_at)
            items.append(format_html("In quarantine, {}", since))
        request = getattr(device, "reregistration", None)
        if request is not None and request.decided_at is None:
            items.append(format_html("A device at {} requests re-registration", request.address))
        for conflict in IdentifierConflict.every_tenant.filter(holder=device).open()[
            :MAX_CONFLICTS
        ]:
            url = reverse("admin:devices_identifierconflict_change", args=[conflict.pk])
            text = "Another device reports {}: <a href='{}'>decide</a>"
            items.append(format_html(text, str(conflict), url))
        return format_html_join("; ", "{}", ((item,) for item in items)) or "None"

    @confirmed_action(
        description="Put into quarantine",
        explanation="Only their connect requests are accepted until a member releases them.",
        button="Put into quarantine",
    )
    def quarantine_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        def put(device: Device) -> str:
            quarantine.quarantine(device=device, now=clock.now())
            return "In quarantine. Only its connect requests are accepted."

        outcomes = run_for_each(devices[:MAX_ROWS_PER_ACTION], put)
        return results_page(self, request, "In quarantine", outcomes)

    @confirmed_action(
        description="Release from quarantine",
        explanation="Release a device only if no other device uses its identifiers.",
        button="Release",
    )
    def release_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        def release(device: Device) -> str:
            quarantine.release(device=device, now=clock.now())
            return "Released."

        outcomes = run_for_each(devices[:MAX_ROWS_PER_ACTION], release)
        return results_page(self, request, "Released", outcomes)

    @confirmed_action(
        description="Allow re-registration",
        explanation="Each may register again once. Its present token is revoked then.",
        button="Allow",
    )
    def allow_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        return self._decide(request, devices, allow=True)

    @confirmed_action(
        description="Deny re-registration",
        explanation="The devices that ask get no new token, and must ask again.",
        button="Deny",
    )
    def deny_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        return self._decide(request, devices, allow=False)

    def _decide(
        self, request: HttpRequest, devices: QuerySet[Device], *, allow: bool
    ) -> HttpResponse:
        def decide(device: Device) -> str:
            reregistration.decide(device=device, allow=allow, now=clock.now())
            return "The device may register again once." if allow else "Re-registration denied."

        outcomes = run_for_each(devices[:MAX_ROWS_PER_ACTION], decide)
        return results_page(self, request, "Re-registration", outcomes)

    @action(description="Quarantine", url_path="quarantine", permissions=["quarantine"])
    def quarantine_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Quarantine",
            action="quarantine_selected",
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation="Only its connect requests are accepted until a member releases it.",
            button="Put into quarantine",
        )

    @action(description="Release", url_path="release", permissions=["release"])
    def release_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Release",
            action="release_selected",
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation="Release the device only if no other device uses its identifiers.",
            button="Release",
        )

    def has_quarantine_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        device = self.get_object(request, str(object_id))
        is_possible = device is not None and not device.quarantined_at and not device.retired_at
        return is_possible and self._may_change(request)

    def has_release_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        device = self.get_object(request, str(object_id))
        return device is not None and bool(device.quarantined_at) and self._may_change(request)

    def _may_change(self, request: HttpRequest) -> bool:
        return super().has_change_permission(request)


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
