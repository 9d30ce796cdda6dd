"""OpenAPI extensions: authentication schemes, error responses, strict fields."""

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from rest_framework.permissions import AllowAny

from core.rest.documentation import ErrorsSerializer
from devices.registry.api.authentication import IsDeviceOrMember, MayConnect, MayEnroll
from devices.registry.api.filters import MAX_LENGTH
from provisioning.api.responses import shared_response


class _Bearer(OpenApiAuthenticationExtension):
    """A bearer token. Each kind of token has its own prefix and its own scheme."""

    prefix = ""

    def get_security_definition(self, auto_schema: Any) -> Any:
        scheme = build_bearer_security_scheme_object(
            header_name="Authorization",
            token_prefix="Bearer",  # noqa: S106 # not a secret
        )
        scheme.pop("bearerFormat", None)  # generators know one format only, JWT
        return {**scheme, "description": f"A token that begins with `{self.prefix}`."}


class MemberScheme(_Bearer):
    target_class = "tenants.api.authentication.MemberAuthentication"
    name = "member"
    prefix = "usr_"


class EnrollmentScheme(_Bearer):
    target_class = "devices.registry.api.authentication.EnrollmentAuthentication"
    name = "enrollment"
    prefix = "enr_"


class DeviceScheme(_Bearer):
    target_class = "devices.registry.api.authentication.DeviceAuthentication"
    name = "device"
    prefix = "dev_"


class ClientCertificateScheme(OpenApiAuthenticationExtension):
    target_class = "certificates.api.authentication.ClientCertificateAuthentication"
    name = "clientCertificate"

    def get_security_definition(self, auto_schema: Any) -> Any:
        return {"type": "mutualTLS"}


class BasicScheme(OpenApiAuthenticationExtension):
    target_class = "certificates.api.authentication.BasicDeviceAuthentication"
    name = "deviceBasic"

    def get_security_definition(self, auto_schema: Any) -> Any:
        return {
            "type": "http",
            "scheme": "basic",
            "description": "User name: the device's id. Password: its `dev_` token.",
        }


class DocumentedSchema(AutoSchema):
    """Document the accepted credentials and the possible errors of each endpoint."""

    def get_auth(self) -> list[dict[str, list[str]]]:
        requirements = super().get_auth()
        schemes = self._schemes()
        return [item for item in requirements if schemes >= set(item)]

    def _schemes(self) -> set[str]:
        permissions = self.view.get_permissions()
        if any(isinstance(item, AllowAny) for item in permissions):
            return set()
        if any(isinstance(item, MayConnect) for item in permissions):
            return {"device", "clientCertificate", "deviceBasic"}
        if any(isinstance(item, IsDeviceOrMember) for item in permissions):
            return {"device", "clientCertificate", "member"}
        if any(isinstance(item, MayEnroll) for item in permissions):
            return {"enrollment", "member"}
        return {"member"}

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        """Document that text parameters must not contain NUL, which PostgreSQL rejects."""
        parameters: list[dict[str, Any]] = super()._get_filter_parameters()
        for schema in (parameter["schema"] for parameter in parameters):
            if schema.get("type") == "string" and not {"enum", "format"} & schema.keys():
                schema.setdefault("pattern", r"^[^\u0000]*$")
        return parameters

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction=direction)
        if direction != "response":
            return bodies
        self.resolve_serializer(ErrorsSerializer, "response")
        for status in self._errors():
            bodies.setdefault(status, shared_response(status))
        return dict(sorted(bodies.items()))

    def _errors(self) -> set[str]:
        statuses = {"400", "405", "406", "429", "503"}
        if "{" in self.path:
            statuses |= {"404"}
        if self._schemes():
            statuses |= {"401", "403", "404"}
        if self.method in {"POST", "PATCH", "PUT", "DELETE"}:
            statuses |= {"403", "404", "409"}
        if self.method in {"POST", "PATCH", "PUT"}:
            statuses |= {"408", "413", "415"}
        return statuses


TOLERANT = (
    "A field that is not usable as it was sent is converted where its meaning is clear, otherwise"
    " cut or dropped. The field `ignored` of the response, if it has a body, names such fields. The"
    " request is refused only if a required field is not usable."
)


class TextField(OpenApiSerializerFieldExtension):
    """Document pattern and length of text fields."""

    target_class = "core.rest.fields.StrictCharField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        field = self.target
        schema: dict[str, Any] = {"type": "string", "pattern": f"^(?:{field.pattern})$"}
        if field.max_length is not None:
            schema["maxLength"] = field.max_length
        if not field.allow_blank:
            schema["minLength"] = 1
        return schema


class DeviceFilter(OpenApiSerializerFieldExtension):
    """Document the filter of an operation that changes devices."""

    target_class = "devices.registry.api.filters.DeviceFilterField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"all": {"type": "boolean"}},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
            "minProperties": 1,
            "maxProperties": self.target.MAX_PARAMETERS,
        }


class TolerantBody(OpenApiSerializerExtension):
    """Document that a device's message is used as far as possible."""

    target_class = "core.rest.tolerant.TolerantSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["description"] = f"{schema.get('description', '')}\n\n{TOLERANT}".strip()
        schema["x-tolerant"] = True
        return schema


class StrictBody(OpenApiSerializerExtension):
    """Document that a request body must not contain unknown fields."""

    target_class = "core.rest.strict.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if direction == "request":
            schema["additionalProperties"] = False
        return schema
