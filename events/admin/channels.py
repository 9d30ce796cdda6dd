"""Admin pages of notification channels and their messages."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from core import clock
from core.templatetags.portal import relative_time
from events.admin.forms import ChannelForm
from events.models import Channel, ChannelDelivery, Event
from events.services import channels
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    CascadeDeleteMixin,
    PortalAdmin,
    confirmed_action,
    results_page,
    run_for_each,
    secret_page,
)
from tenants.admin.columns import time_column
from tenants.admin.opaque_ids import OpaqueIdAdmin
from tenants.context import tenant_scope

STATES = {"delivered": "success", "waiting": "info", "dead": "danger"}


@admin.register(Channel)
class ChannelAdmin(CascadeDeleteMixin, PortalAdmin):
    """The tenant's webhooks and mail recipients for events."""

    list_display = ("name", "kind", "destination", "event_filter", "state")
    list_filter = ("kind", "is_enabled")
    list_select_related = ("tenant",)
    search_fields = ("name__istartswith",)
    ordering = ("name", "id")
    actions: Any = ("test_selected", "rotate_selected")
    service_form = ChannelForm
    fieldsets: Any = (
        (None, {"fields": ("name", "kind", "url", "recipients", "is_enabled")}),
        ("Event filter", {"fields": ("events", "least_severity", "tag")}),
    )

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        secret = obj.__dict__.pop("shown_once", None)
        if secret is None:
            return super().response_add(request, obj, post_url_continue)
        title = "Webhook secret"
        return secret_page(self, request, title=title, secrets={obj.name: secret})

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            channels.delete(channel=obj, now=clock.now())

    @admin.display(description="Destination")
    def destination(self, channel: Channel) -> str:
        return channel.url or ", ".join(channel.recipients)

    @admin.display(description="Event filter")
    def event_filter(self, channel: Channel) -> str:
        parts = list(channel.events)
        if channel.least_severity:
            parts.append(f"severity {channel.least_severity} or higher")
        if channel.tag:
            parts.append(f"tag {channel.tag}")
        return ", ".join(parts)

    @display(
        description="State",
        label={"on": "success", "failing": "warning", "broken": "danger", "off": "default"},
    )
    def state(self, channel: Channel) -> tuple[str, str]:
        if channel.failing_since is None:
            return channel.state, channel.state
        since = relative_time(channel.failing_since)
        return channel.state, f"{channel.state}, no success since {since}: {channel.failing_reason}"

    @admin.action(description="Send a test message", permissions=["change"])
    def test_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def test(channel: Channel) -> str:
            channels.test(channel=channel, now=clock.now())
            return "The message is sent within seconds. The list of messages shows the result."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], test)
        if not all(outcome.done for outcome in outcomes):
            return results_page(self, request, "Test messages", outcomes)
        self.message_user(
            request, "The test messages are sent within seconds. Reload this list for the results."
        )
        return redirect("admin:events_channeldelivery_changelist")

    @confirmed_action(
        description="Rotate secrets",
        explanation="Each gets a new secret. The former secret is valid for another day.",
        button="Rotate",
    )
    def rotate_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        secrets: dict[str, str] = {}

        def rotate(channel: Channel) -> str:
            secret = channels.rotate_secret(channel=channel, now=clock.now())
            secrets[str(channel)] = secret
            return "Rotated. The former secret is valid for another day."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], rotate)
        if not secrets:
            return results_page(self, request, "Rotate secrets", outcomes)
        return secret_page(self, request, title="New secrets", secrets=secrets)


class StateFilter(admin.SimpleListFilter):
    """Filter messages by state: delivered, waiting or dead."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(name, name) for name in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "delivered":
                return queryset.filter(delivered_at__isnull=False)
            case "dead":
                return queryset.filter(dead_at__isnull=False)
            case "waiting":
                return queryset.filter(Q(delivered_at=None) & Q(dead_at=None))
        return queryset


@admin.register(ChannelDelivery)
class MessageAdmin(OpaqueIdAdmin):
    """The messages of the last week, with the results of their latest attempts."""

    list_display = ("name", "channel", "state", "attempts", "created", "last_answer")
    list_filter = (StateFilter,)
    list_select_related = ("tenant", "channel")
    search_fields = ("name__startswith",)
    search_help_text = "Beginning of the event's name, or the event's id"
    ordering = ("-id",)
    actions: Any = ("replay_selected",)
    fields = (
        "name",
        "channel",
        "state",
        "event",
        "device_id",
        "created",
        "attempts",
        "due",
        "attempt_log",
    )
    readonly_fields = fields

    @display(description="State", label=STATES)
    def state(self, message: ChannelDelivery) -> str:
        return message.state

    @admin.display(description="Event id")
    def event(self, message: ChannelDelivery) -> str:
        return Event.public_id_of(message.event_id)

    def with_searched_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        keys = Event.keys_of(term)
        return queryset.filter(event_id__in=keys) if keys else None

    created = time_column("Created", "created_at", is_sortable=True)

    @admin.display(description="Next attempt")
    def due(self, message: ChannelDelivery) -> str:
        waiting = message.state == "waiting"
        return relative_time(message.due_at if waiting else None)

    @admin.display(description="Last response")
    def last_answer(self, message: ChannelDelivery) -> str:
        return _attempt_result(message.log[-1])[:80] if message.log else "-"

    @admin.display(description="Attempt log")
    def attempt_log(self, message: ChannelDelivery) -> str:
        lines = [
            (
                attempt["at"][:19].replace("T", " "),
                attempt["milliseconds"],
                _attempt_result(attempt),
            )
            for attempt in message.log
        ]
        return format_html_join(SafeString("<br>"), "{} UTC, {} ms: {}", lines) or "-"

    @admin.action(description="Send again", permissions=["manage"])
    def replay_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def replay(message: ChannelDelivery) -> str:
            channels.replay(message_id=message.pk, now=clock.now())
            return "The message will be sent again shortly."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], replay)
        return results_page(self, request, "Send messages again", outcomes)


def _attempt_result(attempt: dict[str, Any]) -> str:
    return f"{attempt['status'] or ''} {attempt['answer']}".strip()
