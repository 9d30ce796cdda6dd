"""What the OpenAPI document says of the bearer tokens."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import build_bearer_security_scheme_object


class _Bearer(OpenApiAuthenticationExtension):
    """One header, three kinds of token; each has its own scheme."""

    prefix = ""

    def get_security_definition(self, auto_schema: Any) -> Any:
        scheme = build_bearer_security_scheme_object(
            header_name="Authorization", token_prefix="Bearer"
        )
        return {**scheme, "bearerFormat": f"{self.prefix}…"}


class MemberScheme(_Bearer):
    target_class = "tenants.authentication.MemberAuthentication"
    name = "member"
    prefix = "usr_"


class EnrollmentScheme(_Bearer):
    target_class = "devices.authentication.EnrollmentAuthentication"
    name = "enrollment"
    prefix = "enr_"


class DeviceScheme(_Bearer):
    target_class = "devices.authentication.DeviceAuthentication"
    name = "device"
    prefix = "dev_"
