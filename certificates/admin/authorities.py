"""Portal pages for superusers: CAs, revocation lists, renewal campaigns and the audit."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from certificates.admin.forms import CampaignForm
from certificates.models import (
    CertificateAuthority,
    Drift,
    Inspection,
    RenewalCampaign,
    RevocationList,
)
from certificates.services import renewal_campaigns
from core import clock
from core.templatetags.portal import relative_time
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    confirmed_action,
    results_page,
    run_for_each,
)
from tenants.admin.columns import choice_column, time_column

EXPIRES_SOON = timedelta(hours=48)  # lists that end within this time are marked


class ListInline(ReadOnlyInline):
    """The revocation lists of a CA. Their entries are not shown."""

    model = RevocationList
    fields = ("name", "number", "entries", "built", "valid_until")
    readonly_fields = fields
    verbose_name_plural = "Revocation lists"
    ordering = ("slot", "pk")
    per_page = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return RevocationList.objects.without_content().order_by("-slot", "pk")

    @admin.display(description="List")
    def name(self, row: RevocationList) -> str:
        return row.address or "Complete list"

    built = time_column("Built", "this_update")

    @display(description="Valid until", label={"valid": "success", "expires": "warning"})
    def valid_until(self, row: RevocationList) -> tuple[str, str]:
        if row.next_update is None:
            return "expires", "Not built yet"
        expires_soon = row.next_update - clock.now() < EXPIRES_SOON
        return ("expires" if expires_soon else "valid"), f"{row.next_update:%Y-%m-%d}"


@admin.register(CertificateAuthority)
class CertificateAuthorityAdmin(ReadOnlyAdmin):
    """Certificate authorities with their status and revocation lists."""

    list_display = ("subject", "status_label", "level", "ends", "complete_list")
    ordering = ("-created_at", "-pk")
    inlines = (ListInline,)
    fields = (
        "subject",
        "status",
        "level",
        "key_identifier",
        "not_before",
        "not_after",
        "created_at",
        "signing_since",
        "superseded_at",
        "retired_at",
        "responder",
        "chain_pem",
    )
    readonly_fields = ("responder", "chain_pem")

    status_label = choice_column(
        "Status", "status", {"signing": "success", "next": "info", "trusted": "default"}
    )

    @admin.display(description="Expires", ordering="not_after")
    def ends(self, row: CertificateAuthority) -> str:
        return f"{row.not_after:%Y-%m-%d}"

    @admin.display(description="Complete revocation list")
    def complete_list(self, row: CertificateAuthority) -> str:
        complete = row.lists.complete().defer("der").first()
        if complete is None or complete.this_update is None:
            return "Not built yet"
        return format_html(
            "No. {}, {} entries, built {}",
            complete.number,
            complete.entries,
            relative_time(complete.this_update),
        )

    @admin.display(description="OCSP responder")
    def responder(self, row: CertificateAuthority) -> str:
        newest = row.responders.order_by("-not_after").first()
        if newest is None:
            return "None yet. A responder is issued on the first OCSP request."
        return format_html("Ends {}", relative_time(newest.not_after))

    @admin.display(description="Chain (PEM)")
    def chain_pem(self, row: CertificateAuthority) -> str:
        return format_html("<pre>{}</pre>", row.chain)


@admin.register(RenewalCampaign)
class RenewalCampaignAdmin(PortalAdmin):
    """Pages to start, watch and stop renewal campaigns, which renew certificates early."""

    list_display = ("reason", "scope", "state", "rate", "progress", "started")
    list_select_related = ("tenant",)
    ordering = ("-started_at", "-pk")
    form = CampaignForm
    actions = ("stop_selected",)
    fieldsets = ((None, {"fields": ("reason", "per_minute", "tenant", "model")}),)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return list(self.list_display)

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Scope")
    def scope(self, row: RenewalCampaign) -> str:
        parts = [str(row.tenant) if row.tenant else "All tenants"]
        parts += [f"model {row.model}"] if row.model else []
        parts += ["certificates of the former CA"] if row.authority_key_id else []
        return ", ".join(parts)

    @display(
        description="Status", label={"Running": "info", "Stopped": "warning", "Done": "success"}
    )
    def state(self, row: RenewalCampaign) -> str:
        if row.ended_at is None:
            return "Running"
        return "Stopped" if row.stopped else "Done"

    @admin.display(description="Rate")
    def rate(self, row: RenewalCampaign) -> str:
        return f"{row.per_minute} per minute"

    @admin.display(description="Renewals started")
    def progress(self, row: RenewalCampaign) -> str:
        share = min(100, round(100 * row.renewed / max(1, row.certificates)))
        return format_html(
            '<progress class="portal-progress" max="100" value="{}"></progress> {} of {}',
            share,
            row.renewed,
            row.certificates,
        )

    started = time_column("Started", "started_at")

    @confirmed_action(
        description="Stop selected campaigns",
        explanation="Certificates that were not renewed yet are renewed at their usual time.",
        button="Stop",
    )
    def stop_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def stop(row: RenewalCampaign) -> str:
            renewal_campaigns.stop(row.pk, now=clock.now())
            return "Stopped."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], stop)
        return results_page(self, request, "Stop campaigns", outcomes)


@admin.register(Inspection)
class InspectionAdmin(ReadOnlyAdmin):
    """Passes of the continuous audit of all certificates."""

    list_display = ("started_at", "ended_at", "inspected", "drifted")
    ordering = ("-started_at", "-pk")
    fields = ("started_at", "ended_at", "inspected", "drifted")


@admin.register(Drift)
class DriftAdmin(ReadOnlyAdmin):
    """Integrity findings about certificates that differ from their record, files or profile."""

    list_display = ("kind", "certificate_link", "sentence", "first_found", "last_seen")
    list_select_related = ("certificate",)
    ordering = ("-found_at", "-pk")
    fields = ("kind", "certificate_link", "sentence", "found_at", "seen_at")
    readonly_fields = ("certificate_link",)

    @admin.display(description="Certificate")
    def certificate_link(self, row: Drift) -> str:
        address = reverse("admin:certificates_devicecertificate_change", args=[row.certificate_id])
        return format_html('<a href="{}">{}</a>', address, row.certificate)

    first_found = time_column("First found", "found_at")
    last_seen = time_column("Last seen", "seen_at")
