"""Channels in the portal: made, tried, their secrets replaced, their messages looked at."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from core.templatetags.portal import moment_in_words
from events.admin.forms import ChannelForm
from events.errors import InvalidChannel
from events.models import Channel, ChannelDelivery
from events.services import channels
from tenants.admin.base import (
    MOST_AT_ONCE,
    DeletesWhole,
    PortalAdmin,
    ReadOnlyAdmin,
    act_on_each,
    person,
    report_page,
    secret_page,
)
from tenants.context import tenant_scope

STATES = {"delivered": "success", "waiting": "info", "dead": "danger"}


@admin.register(Channel)
class ChannelAdmin(DeletesWhole, PortalAdmin):
    """Whom the tenant tells of its events."""

    list_display = ("name", "kind", "to", "hears_of", "state")
    list_filter = ("kind", "is_enabled")
    list_select_related = ("tenant",)
    search_fields = ("name__istartswith",)
    ordering = ("name", "id")
    actions: Any = ("test_selected", "rotate_selected")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return ChannelForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ["name", "kind", "url", "recipients", "is_enabled"]
        if obj is None and person(request).is_superuser:
            first.insert(0, "tenant")
        filters = ("events", "least_severity", "tag")
        return ((None, {"fields": first}), ("What it is told", {"fields": filters}))

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        secret = obj.__dict__.pop("shown_once", None)
        if secret is None:
            return super().response_add(request, obj, post_url_continue)
        title = "The webhook's secret"
        return secret_page(self, request, title=title, secrets={obj.name: secret})

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            channels.delete(channel=obj, now=timezone.now())

    @admin.display(description="To")
    def to(self, channel: Channel) -> str:
        return channel.url or ", ".join(channel.recipients)

    @admin.display(description="Hears of")
    def hears_of(self, channel: Channel) -> str:
        words = [", ".join(channel.events)]
        words += [f"from {channel.least_severity}"] if channel.least_severity else []
        words += [f"tag {channel.tag}"] if channel.tag else []
        return ", ".join(words)

    @display(description="State", label={"on": "success", "off": "default"})
    def state(self, channel: Channel) -> str:
        return "on" if channel.is_enabled else "off"

    @admin.action(description="Send a test", permissions=["change"])
    def test_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def test(channel: Channel) -> str:
            message = channels.test(channel=channel, now=timezone.now())
            said = message.log[-1]
            words = f"{said['status'] or ''} {said['answer']}".strip()
            if message.state != "delivered":
                raise InvalidChannel(f"It did not arrive: {words}"[:300])
            return f"It arrived within {said['milliseconds']} ms: {words}"[:300]

        few = rows[:3]  # each may take its time
        outcomes = act_on_each(few, test)
        return report_page(self, request, "Tests", outcomes)

    @admin.action(description="Replace the secret", permissions=["change"])
    def rotate_selected(
        self, request: HttpRequest, rows: QuerySet[Any]
    ) -> HttpResponse:
        secrets: dict[str, str] = {}

        def rotate(channel: Channel) -> str:
            secret = channels.rotate_secret(channel=channel, now=timezone.now())
            secrets[str(channel)] = secret
            return "Has a new secret; the former one is good for a day."

        outcomes = act_on_each(rows[:MOST_AT_ONCE], rotate)
        if not secrets:
            return report_page(self, request, "New secrets", outcomes)
        return secret_page(self, request, title="New secrets", secrets=secrets)


class StateFilter(admin.SimpleListFilter):
    """Waiting, delivered or dead."""

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
class MessageAdmin(ReadOnlyAdmin):
    """What went over channels in the last week, with every answer."""

    list_display = ("name", "channel", "state", "attempts", "made", "last_answer")
    list_filter = (StateFilter,)
    list_select_related = ("tenant", "channel")
    search_fields = ("name__startswith", "=event_id")
    search_help_text = "How the event's name begins, or its id"
    ordering = ("-id",)
    actions: Any = ("replay_selected",)
    fields = (
        *("name", "channel", "state", "event_id", "device_id", "made"),
        *("attempts", "due", "attempts_made"),
    )
    readonly_fields = fields

    @display(description="State", label=STATES)
    def state(self, message: ChannelDelivery) -> str:
        return message.state

    @admin.display(description="Made", ordering="created_at")
    def made(self, message: ChannelDelivery) -> str:
        return moment_in_words(message.created_at)

    @admin.display(description="Next attempt")
    def due(self, message: ChannelDelivery) -> str:
        waiting = message.state == "waiting"
        return moment_in_words(message.due_at if waiting else None)

    @admin.display(description="Last answer")
    def last_answer(self, message: ChannelDelivery) -> str:
        return _in_words(message.log[-1])[:80] if message.log else "-"

    @admin.display(description="Attempts made")
    def attempts_made(self, message: ChannelDelivery) -> str:
        lines = [
            (line["at"][:19].replace("T", " "), line["milliseconds"], _in_words(line))
            for line in message.log
        ]
        return format_html_join(SafeString("<br>"), "{} UTC, {} ms: {}", lines) or "-"

    @admin.action(description="Send again", permissions=["manage"])
    def replay_selected(
        self, request: HttpRequest, rows: QuerySet[Any]
    ) -> HttpResponse:
        def replay(message: ChannelDelivery) -> str:
            channels.replay(message_id=message.pk, now=timezone.now())
            return "It is sent again soon."

        outcomes = act_on_each(rows[:MOST_AT_ONCE], replay)
        return report_page(self, request, "Sent again", outcomes)


def _in_words(line: dict[str, Any]) -> str:
    return f"{line['status'] or ''} {line['answer']}".strip()
