"""Portal page that makes the QR code for the setup of a new Android device."""

import json
from typing import Any

import segno
from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator, URLValidator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from core import clock
from devices.registry.device_owner import (
    COMPONENT,
    DeviceOwnerSetup,
    InvalidChecksum,
    normalised_checksum,
)
from devices.registry.models import EnrollmentToken
from tenants import tokens
from tenants.admin.forms import switch_field, text_field

MAX_TOKEN = 100  # characters


class DeviceOwnerForm(forms.Form):
    """What the setup assistant of Android needs."""

    token = text_field(
        "Enrollment token",
        required=True,
        length=MAX_TOKEN,
        help_text="It begins with enr_ and is shown when it is created. The code contains it.",
    )
    component = text_field(
        "Receiver of the app",
        required=True,
        length=250,
        help_text="Package and class of its DeviceAdminReceiver, for example"
        " com.example.signage/.AdminReceiver.",
    )
    download_url = text_field(
        "Address of the app",
        required=True,
        length=500,
        help_text="The device downloads the APK from this address without a credential.",
    )
    checksum = text_field(
        "SHA-256 of the signing certificate",
        required=True,
        length=120,
        help_text="In hexadecimal, as the page of a package and apksigner show it, or in base64.",
    )
    wifi_ssid = text_field("Wi-Fi name", length=32, help_text="Empty: the network cable is used.")
    wifi_password = text_field(
        "Wi-Fi password", length=63, help_text="The code contains it. Empty: an open network."
    )
    keeps_system_apps = switch_field("Keep the apps of the manufacturer", initial=True)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        message = "Enter package and class, separated by a slash."
        self.fields["component"].validators.append(RegexValidator(f"^{COMPONENT}$", message))
        self.fields["download_url"].validators.append(URLValidator(schemes=["http", "https"]))

    def clean_token(self) -> str:
        """Accept a token that devices of this tenant can use now."""
        token = str(self.cleaned_data["token"]).strip()
        row = EnrollmentToken.objects.filter(digest=tokens.digest(token)).first()
        if row is None:
            raise forms.ValidationError("This is no enrollment token of this tenant.")
        if (state := row.state(clock.now())) != "usable":
            raise forms.ValidationError(f"This token is {state}. Create a new one.")
        return token

    def clean_checksum(self) -> str:
        try:
            return normalised_checksum(self.cleaned_data["checksum"])
        except InvalidChecksum as error:
            raise forms.ValidationError("Enter a SHA-256 with 64 hexadecimal digits.") from error

    def setup(self) -> DeviceOwnerSetup:
        """Return the setup. The form must be valid."""
        data = self.cleaned_data
        names = ("component", "download_url", "wifi_ssid", "wifi_password", "keeps_system_apps")
        return DeviceOwnerSetup(
            **{name: data[name] for name in names},
            signature_checksum=data["checksum"],
            server_url=settings.PUBLIC_URL,
            enrollment_token=data["token"],
        )


class DeviceOwnerPage:
    """Mixin of the admin class of enrollment tokens."""

    def get_urls(self: Any) -> list[Any]:
        view = self.admin_site.admin_view(self.device_owner_page)
        name = "devices_enrollmenttoken_device_owner"
        return [path("android/", view, name=name), *super().get_urls()]  # type: ignore[misc]

    def device_owner_page(self: Any, request: HttpRequest) -> HttpResponse:
        """Show the form, and the QR code if it is complete. Nothing is stored."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        is_complete = request.method == "POST" and "component" in request.POST
        form = DeviceOwnerForm(request.POST if is_complete else None, initial=_initial(request))
        qr_code = None
        if is_complete and form.is_valid():
            text = json.dumps(form.setup().as_json_values(), separators=(",", ":"))
            qr_code = segno.make(text, error="l", micro=False).svg_data_uri(
                scale=5, border=4, light="white"
            )
        context = {
            **self.admin_site.each_context(request),
            "title": "Set up Android devices",
            "opts": self.opts,
            "form": form,
            "qr_code": qr_code,
        }
        response = TemplateResponse(request, "portal/device_owner.html", context)
        response["Cache-Control"] = "no-store"
        return response


def _initial(request: HttpRequest) -> dict[str, str]:
    """Take over the token from the page that has just shown it."""
    return {"token": request.POST.get("token", "")[:MAX_TOKEN]}
