"""Doubtful devices in the portal: clones, and boxes that ask to come back."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.decorators import action

from core.templatetags.portal import moment_in_words
from devices.registry.models import Device, DeviceQuerySet
from devices.registry.services import quarantine, reregistration
from devices.registry.services.reregistration import GOOD_FOR
from tenants.admin.base import (
    MOST_AT_ONCE,
    PortalAdmin,
    act_on_each,
    confirmation_page,
    person,
    report_page,
)
from tenants.roles import visible_to

ON_DOUBTFUL_ONES = (
    *("quarantine_selected", "release_selected"),
    *("allow_selected", "deny_selected"),
)
ON_A_DOUBTFUL_ONE = ("quarantine_one", "release_one")


class DoubtFilter(admin.SimpleListFilter):
    """Devices on which a member has to decide."""

    title = "doubts"
    parameter_name = "doubts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("quarantine", "In quarantine"), ("asking", "Asks to register again")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        match self.value():
            case "quarantine":
                return queryset.quarantined()
            case "asking":
                return queryset.asking(timezone.now() - GOOD_FOR)
        return queryset


class DoubtActions(PortalAdmin):
    """What a member decides of devices that may not be what they say."""

    @admin.display(description="Doubts")
    def doubts(self, device: Device) -> str:
        said = []
        if device.quarantined_at is not None:
            since = moment_in_words(device.quarantined_at)
            said.append(format_html("In quarantine, {}", since))
        asks = getattr(device, "reregistration", None)
        if asks is not None and asks.decided_at is None:
            said.append(
                format_html("A box at {} asks to register as this one", asks.address)
            )
        return format_html_join("; ", "{}", ((item,) for item in said)) or "none"

    @admin.action(description="Put into quarantine", permissions=["change"])
    def quarantine_selected(
        self, request: HttpRequest, devices: QuerySet[Device]
    ) -> HttpResponse:
        def put(device: Device) -> str:
            quarantine.quarantine(device=device, now=timezone.now())
            return "Gets nothing but the answer to its connects."

        outcomes = act_on_each(devices[:MOST_AT_ONCE], put)
        return report_page(self, request, "In quarantine", outcomes)

    @admin.action(description="Release from quarantine", permissions=["change"])
    def release_selected(
        self, request: HttpRequest, devices: QuerySet[Device]
    ) -> HttpResponse:
        def release(device: Device) -> str:
            quarantine.release(device=device, now=timezone.now())
            return "Trusted again."

        outcomes = act_on_each(devices[:MOST_AT_ONCE], release)
        return report_page(self, request, "Released", outcomes)

    @admin.action(description="Allow to register again", permissions=["change"])
    def allow_selected(
        self, request: HttpRequest, devices: QuerySet[Device]
    ) -> HttpResponse:
        return self._decide(request, devices, allow=True)

    @admin.action(description="Deny to register again", permissions=["change"])
    def deny_selected(
        self, request: HttpRequest, devices: QuerySet[Device]
    ) -> HttpResponse:
        return self._decide(request, devices, allow=False)

    def _decide(
        self, request: HttpRequest, devices: QuerySet[Device], *, allow: bool
    ) -> HttpResponse:
        def decide(device: Device) -> str:
            reregistration.decide(device=device, allow=allow, now=timezone.now())
            return "The box may register once." if allow else "The box is refused."

        outcomes = act_on_each(devices[:MOST_AT_ONCE], decide)
        return report_page(self, request, "Decided", outcomes)

    @action(description="Quarantine", url_path="quarantine", permissions=["quarantine"])
    def quarantine_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Quarantine",
            action="quarantine_selected",
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation="It may connect and gets nothing else, until somebody releases it.",
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
            explanation="It is one box, and it is trusted again.",
            button="Release",
        )

    def has_quarantine_permission(
        self, request: HttpRequest, object_id: Any = None
    ) -> bool:
        living = visible_to(person(request), Device).filter(
            quarantined_at=None, retired_at=None
        )
        return self._may_change(request) and _there_is(living, object_id)

    def has_release_permission(
        self, request: HttpRequest, object_id: Any = None
    ) -> bool:
        held = visible_to(person(request), Device).exclude(quarantined_at=None)
        return self._may_change(request) and _there_is(held, object_id)

    def _may_change(self, request: HttpRequest) -> bool:
        return super().has_change_permission(request)


def _tenant(device: Device) -> Any:
    return device.tenant_id


def _there_is(devices: QuerySet[Device], object_id: Any) -> bool:
    return is_uuid(str(object_id)) and devices.filter(pk=object_id).exists()


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
