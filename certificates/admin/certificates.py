"""Portal pages to view, issue, renew and revoke certificates."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_GET
from unfold.decorators import action, display

from certificates.admin import downloads
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import (
    CertificateManagementService,
    certificate_in_use,
)
from core import clock
from devices.registry.admin.devices import DeviceAdmin
from devices.registry.models import Device
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    ReadOnlyAdmin,
    confirmation_page,
    confirmed_action,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import time_column
from tenants.admin.export import ExportMixin

STATUS_LABELS = {
    "active": "success",
    "pending": "info",
    "superseded": "default",
    "expired": "warning",
    "revoked": "danger",
    "failed": "default",
}


@admin.register(DeviceCertificate)
class DeviceCertificateAdmin(ExportMixin, ReadOnlyAdmin):
    """Device certificates, with actions to renew and revoke them."""

    list_display = ("serial_number", "device_link", "status_label", "issued", "ends")
    list_filter = ("status", "key_source", "revocation_reason")
    list_select_related = ("device",)
    search_fields = ("serial_number__startswith", "fingerprint__startswith")
    search_help_text = "Start of the serial number or fingerprint"
    ordering = ("-reserved_at", "-id")
    export_columns = (
        ("serial_number", lambda row: row.serial_number),
        ("device_id", lambda row: row.device_id),
        ("device_name", lambda row: row.device.name),
        ("status", lambda row: row.status),
        ("fingerprint", lambda row: row.fingerprint),
        ("not_before", lambda row: row.not_before),
        ("not_after", lambda row: row.not_after),
        ("revoked_at", lambda row: row.revoked_at),
        ("revocation_reason", lambda row: row.revocation_reason),
    )
    actions = ("renew_selected", "revoke_selected")
    actions_detail = ("renew_one", "revoke_one")
    fields = (
        "serial_number",
        "device_link",
        "status",
        "key_source",
        "not_before",
        "not_after",
        "issued_at",
        "warned_at",
        "confirmed_at",
        "handover_until",
        "key_delivered_at",
        "revoked_at",
        "revocation_reason",
        "replaces",
        "fingerprint",
        "findings",
        "pem_text",
    )
    readonly_fields = ("device_link", "findings", "pem_text")
    change_form_outer_before_template = "portal/certificate_downloads.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(require_GET(self.download))
        name = "certificates_devicecertificate_download"
        return [
            path("<uuid:certificate_id>/<slug:form>/download/", view, name=name),
            *super().get_urls(),
        ]

    def download(self, request: HttpRequest, certificate_id: UUID, form: str) -> HttpResponse:
        """Return a certificate as a file: `pem`, `der`, or `chain` with those of its CAs."""
        row = self.get_object(request, str(certificate_id))
        if row is None or form not in downloads.FORMS:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return downloads.response(row, form)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeviceCertificate]:
        certificates = DeviceCertificate.objects.signed()
        if not signed_in_user(request).sees_every_tenant:
            certificates = certificates.of_current_tenant()
        return certificates.order_by("-reserved_at", "-id")

    @display(description="Status", label=STATUS_LABELS)
    def status_label(self, row: DeviceCertificate) -> tuple[str, str]:
        if row.handover_until is not None and row.status == "active":
            return "superseded", "Active until its successor is confirmed"
        return row.status, row.get_status_display()

    @admin.display(description="Device")
    def device_link(self, row: DeviceCertificate) -> str:
        address = reverse("admin:devices_device_change", args=[row.device_id])
        return format_html('<a href="{}">{}</a>', address, row.device)

    issued = time_column("Issued", "issued_at")

    @admin.display(description="Expires", ordering="not_after")
    def ends(self, row: DeviceCertificate) -> str:
        return f"{row.not_after:%Y-%m-%d}" if row.not_after else "-"

    @admin.display(description="Audit findings")
    def findings(self, row: DeviceCertificate) -> str:
        sentences = [drift.sentence for drift in row.drifts.all()]
        return " ".join(sentences) or "No findings"

    @admin.display(description="Certificate (PEM)")
    def pem_text(self, row: DeviceCertificate) -> str:
        return format_html("<pre>{}</pre>", row.pem)

    @admin.action(description="Renew selected certificates", permissions=["manage"])
    def renew_selected(
        self, request: HttpRequest, rows: QuerySet[DeviceCertificate]
    ) -> HttpResponse:
        service = CertificateManagementService()

        def renew(row: DeviceCertificate) -> str:
            renewed = service.renew_certificate(row, now=clock.now())
            return f"Renewed until {renewed.not_after:%Y-%m-%d}."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], renew, of_tenant=_tenant_id)
        return results_page(self, request, "Renew certificates", outcomes)

    @confirmed_action(
        description="Revoke selected certificates",
        explanation="Verifiers will reject these certificates. This cannot be undone.",
        choices=DeviceCertificate.Reason.choices,
        button="Revoke",
        permissions=["manage"],
    )
    def revoke_selected(
        self, request: HttpRequest, rows: QuerySet[DeviceCertificate]
    ) -> HttpResponse:
        selected = rows[:MAX_ROWS_PER_ACTION]
        service, reason = CertificateManagementService(), request.POST.get("reason", "")

        def revoke(row: DeviceCertificate) -> str:
            service.revoke_certificate(row, reason=reason, now=clock.now())
            return "Revoked."

        outcomes = run_for_each(selected, revoke, of_tenant=_tenant_id)
        return results_page(self, request, "Revoke certificates", outcomes)

    @action(description="Renew", url_path="renew", permissions=["manage"])
    def renew_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Renew certificate",
            action="renew_selected",
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation=("The device gets the new certificate after its next connect request."),
            button="Renew",
        )

    @action(description="Revoke", url_path="revoke", permissions=["manage"])
    def revoke_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        selected = self.get_queryset(request).filter(pk=object_id)
        return self.revoke_selected(request, selected)


class DeviceWithCertificatesAdmin(DeviceAdmin):
    """The device pages with actions for certificates."""

    actions = (
        "issue_for_selected",
        "renew_for_selected",
        "revoke_for_selected",
        *DeviceAdmin.actions,
    )
    actions_detail = ("issue_for_one", *DeviceAdmin.actions_detail)

    @admin.action(description="Issue certificates for selected devices", permissions=["change"])
    def issue_for_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        service = CertificateManagementService()

        def issue(device: Device) -> str:
            row = service.issue_certificate(device=device, now=clock.now())
            return f"Issued certificate {row.serial_number}, valid until {row.not_after:%Y-%m-%d}."

        selected = devices[:MAX_ROWS_PER_ACTION]
        outcomes = run_for_each(selected, issue, of_tenant=lambda device: device.tenant_id)
        return results_page(self, request, "Issue certificates", outcomes)

    @admin.action(description="Renew certificates of selected devices", permissions=["change"])
    def renew_for_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        service = CertificateManagementService()

        def renew(device: Device) -> str:
            row = service.renew_certificate(certificate_in_use(device), now=clock.now())
            return f"Renewed until {row.not_after:%Y-%m-%d}."

        selected = devices[:MAX_ROWS_PER_ACTION]
        outcomes = run_for_each(selected, renew, of_tenant=lambda device: device.tenant_id)
        return results_page(self, request, "Renew certificates", outcomes)

    @confirmed_action(
        description="Revoke certificates of selected devices",
        explanation="Verifiers will reject all certificates of these devices. This cannot be"
        " undone.",
        choices=DeviceCertificate.Reason.choices,
        button="Revoke",
    )
    def revoke_for_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        selected = devices[:MAX_ROWS_PER_ACTION]
        service, reason = CertificateManagementService(), request.POST.get("reason", "")

        def revoke(device: Device) -> str:
            certificate_in_use(device)  # raises if the device has no certificate
            count = service.revoke_all_of_device(device.pk, reason=reason, now=clock.now())
            return f"Certificates revoked: {count}."

        outcomes = run_for_each(selected, revoke, of_tenant=lambda device: device.tenant_id)
        return results_page(self, request, "Revoke certificates", outcomes)

    @action(description="Issue certificate", url_path="issue-certificate", permissions=["change"])
    def issue_for_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Issue certificate",
            action="issue_for_selected",
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation=(
                "The server generates a key and issues a certificate for it. It replaces "
                "the device's current certificate, if there is one."
            ),
            button="Issue",
        )


admin.site.unregister(Device)
admin.site.register(Device, DeviceWithCertificatesAdmin)


def _tenant_id(row: DeviceCertificate) -> Any:
    return row.device.tenant_id
