"""A QR code sets up a new Android device as a device owner that registers itself."""

import html
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import segno
from django.test import Client

from accounts.services.tokens import revoke_token
from devices.registry.device_owner import InvalidChecksum, normalised_checksum
from devices.registry.models import EnrollmentToken
from devices.registry.services.credentials import create_enrollment_token
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PATH = "/admin/devices/enrollmenttoken/android/"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BASE64 = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"
FIELDS = {
    "component": "com.example.signage/.AdminReceiver",
    "download_url": "https://example.com/signage.apk",
    "checksum": HEX,
    "keeps_system_apps": "on",
}


def signed_in(tenant: Tenant, role: Role = Role.ADMIN) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


def token_of(tenant: Tenant) -> str:
    with tenant_scope(tenant.pk):
        return create_enrollment_token(name="new devices", now=datetime.now(UTC))[1]


def code_in(page: str) -> str:
    match = re.search('src="(data:image/svg[^"]+)"', page)
    assert match is not None, page
    return html.unescape(match[1])


@pytest.mark.parametrize(
    "text", [HEX, HEX.upper(), ":".join(re.findall("..", HEX)), BASE64, BASE64 + "=", f" {HEX} "]
)
def test_a_checksum_is_accepted_in_hexadecimal_and_in_base64(text: str) -> None:
    assert normalised_checksum(text) == BASE64


@pytest.mark.parametrize("text", ["", HEX[:-1], HEX + "0", "x" * 64, BASE64[:-1], "é" * 43])
def test_any_other_checksum_is_refused(text: str) -> None:
    with pytest.raises(InvalidChecksum):
        normalised_checksum(text)


def test_the_code_contains_the_app_the_server_and_the_token(tenant: Tenant, settings: Any) -> None:
    settings.PUBLIC_URL = "https://devices.example.com"
    token, client = token_of(tenant), signed_in(tenant)

    response = client.post(PATH, {**FIELDS, "token": token, "wifi_ssid": "Shop"})

    extra = "android.app.extra.PROVISIONING_"
    expected = {
        f"{extra}DEVICE_ADMIN_COMPONENT_NAME": "com.example.signage/.AdminReceiver",
        f"{extra}DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION": "https://example.com/signage.apk",
        f"{extra}DEVICE_ADMIN_SIGNATURE_CHECKSUM": BASE64,
        f"{extra}LEAVE_ALL_SYSTEM_APPS_ENABLED": True,
        f"{extra}ADMIN_EXTRAS_BUNDLE": {
            "server_url": "https://devices.example.com",
            "enrollment_token": token,
        },
        f"{extra}WIFI_SSID": "Shop",
        f"{extra}WIFI_SECURITY_TYPE": "NONE",
    }
    text = json.dumps(expected, separators=(",", ":"))
    code = segno.make(text, error="l", micro=False).svg_data_uri(scale=5, border=4, light="white")
    assert code_in(response.content.decode()) == code
    assert "no-store" in response["Cache-Control"]


def test_the_page_of_a_new_token_leads_to_the_code(tenant: Tenant) -> None:
    client = signed_in(tenant)
    fields = {"name": "new devices", "reregistration": "rotate", "tag_names": "", "site_name": ""}

    page = client.post("/admin/devices/enrollmenttoken/add/", fields).content.decode()

    token = re.search('name="token" value="(enr_[^"]+)"', page)
    assert token is not None
    form = client.post(PATH, {"token": token[1]}).content.decode()
    assert f'value="{token[1]}"' in form
    assert "This field is required" not in form


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("component", "com.example.signage", "Enter package and class"),
        ("download_url", "ftp://example.com/x", "Enter a valid URL"),
        ("checksum", "abc", "Enter a SHA-256 with 64 hexadecimal digits."),
        ("token", "enr_unknown", "This is no enrollment token of this tenant."),
    ],
)
def test_a_wrong_field_is_named(tenant: Tenant, field: str, value: str, error: str) -> None:
    fields = {**FIELDS, "token": token_of(tenant), field: value}

    page = signed_in(tenant).post(PATH, fields).content.decode()

    assert error in page
    assert "data:image" not in page


def test_a_token_of_another_tenant_and_a_revoked_token_are_refused(tenant: Tenant) -> None:
    client, foreign, own = signed_in(tenant), token_of(TenantFactory.create()), token_of(tenant)
    with tenant_scope(tenant.pk):
        revoke_token(EnrollmentToken.objects.get(), now=datetime.now(UTC))

    pages = [client.post(PATH, {**FIELDS, "token": token}) for token in (foreign, own)]

    assert "This is no enrollment token of this tenant." in pages[0].content.decode()
    assert "This token is revoked. Create a new one." in pages[1].content.decode()


def test_only_those_who_create_tokens_see_the_page(tenant: Tenant) -> None:
    assert signed_in(tenant, Role.VIEWER).get(PATH).status_code == 403
