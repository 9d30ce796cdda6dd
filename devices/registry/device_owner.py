"""The QR code with which a new Android device gets its management app and its enrollment token.

The setup assistant of Android reads the code after a factory reset, installs the app from its
address and makes it the device owner. The app gets the address of the server and the token as
admin extras. The keys are those of `android.app.admin.DevicePolicyManager`.
"""

import base64
import re
from dataclasses import dataclass
from typing import Any

EXTRA = "android.app.extra.PROVISIONING_"
COMPONENT = r"[A-Za-z]\w*(\.[A-Za-z]\w*)+/\.?[A-Za-z]\w*(\.[A-Za-z]\w*)*"
DIGEST_SIZE = 32  # bytes of SHA-256


class InvalidChecksum(ValueError):
    """The text is no SHA-256, neither in hexadecimal nor in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOwnerSetup:
    """What the setup assistant needs.

    Attributes:
        component: the receiver of the app, such as `com.example.signage/.AdminReceiver`.
        download_url: where Android downloads the app, without a credential.
        signature_checksum: see `normalised_checksum`.
        wifi_ssid, wifi_password: a network; empty if the device has one already.
        keeps_system_apps: False removes the apps of the manufacturer.
    """

    component: str
    download_url: str
    signature_checksum: str
    server_url: str
    enrollment_token: str
    wifi_ssid: str = ""
    wifi_password: str = ""
    keeps_system_apps: bool = True

    def as_json_values(self) -> dict[str, Any]:
        """Return the content of the code."""
        values: dict[str, Any] = {
            f"{EXTRA}DEVICE_ADMIN_COMPONENT_NAME": self.component,
            f"{EXTRA}DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION": self.download_url,
            f"{EXTRA}DEVICE_ADMIN_SIGNATURE_CHECKSUM": self.signature_checksum,
            f"{EXTRA}LEAVE_ALL_SYSTEM_APPS_ENABLED": self.keeps_system_apps,
            f"{EXTRA}ADMIN_EXTRAS_BUNDLE": {
                "server_url": self.server_url,
                "enrollment_token": self.enrollment_token,
            },
        }
        if self.wifi_ssid:
            values[f"{EXTRA}WIFI_SSID"] = self.wifi_ssid
            values[f"{EXTRA}WIFI_SECURITY_TYPE"] = "WPA" if self.wifi_password else "NONE"
        if self.wifi_ssid and self.wifi_password:
            values[f"{EXTRA}WIFI_PASSWORD"] = self.wifi_password
        return values


def normalised_checksum(text: str) -> str:
    """Return the SHA-256 of a certificate in base64 for URLs without padding, as Android wants it.

    Args:
        text: in hexadecimal, as `apksigner` and the page of a package show it, or in base64.

    Raises:
        InvalidChecksum: see there.
    """
    compact = re.sub(r"[\s:=]", "", text)
    if re.fullmatch("[0-9A-Fa-f]{64}", compact):
        return base64.urlsafe_b64encode(bytes.fromhex(compact)).rstrip(b"=").decode()
    encoded = compact.replace("+", "-").replace("/", "_")
    if not re.fullmatch("[A-Za-z0-9_-]{43}", encoded):
        raise InvalidChecksum(text)
    if len(base64.urlsafe_b64decode(encoded + "=")) != DIGEST_SIZE:
        raise InvalidChecksum(text)
    return encoded
