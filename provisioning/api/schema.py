"""What the OpenAPI document says beyond what the serializers say by themselves."""

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from rest_framework import serializers
from rest_framework.permissions import AllowAny, BasePermission

from devices.registry.api.authentication import IsDeviceOrMember, MayConnect, MayEnroll


class _Bearer(OpenApiAuthenticationExtension):
    """One header, three kinds of token; each has its own scheme."""

    prefix = ""

    def get_security_definition(self, auto_schema: Any) -> Any:
        scheme = build_bearer_security_scheme_object(
            header_name="Authorization", token_prefix="Bearer"
        )
        return {**scheme, "bearerFormat": f"{self.prefix}…"}


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
            "description": "The device's id and its `dev_` token.",
        }


class ErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable; for machines.")
    detail = serializers.CharField(help_text="A sentence; for people.")
    attr = serializers.CharField(allow_null=True, help_text="The field at fault.")


class ErrorsSerializer(serializers.Serializer[Any]):
    """The one shape of every error."""

    type = serializers.ChoiceField(
        choices=("validation_error", "client_error", "server_error")
    )
    errors = ErrorSerializer(many=True)  # type: ignore[assignment] # its name in JSON
    current = serializers.DictField(
        required=False, help_text="Of a stale write (409): what is there now."
    )


ERRORS = {
    "400": "The request says something that cannot be; the codes name what.",
    "401": "There is no credential, or it is not valid (any more).",
    "403": "The credential is good, and its bearer may not do this.",
    "404": "There is no such thing, or it is somebody else's.",
    "405": "This is not done at this address.",
    "406": "There is no answer in the form that was asked for.",
    "409": "The present state of the thing does not allow this.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too often; `Retry-After` says when to come again.",
}


class DocumentedSchema(AutoSchema):
    """Each endpoint with the credentials that open it and the errors it may answer."""

    def get_auth(self) -> list[dict[str, list[str]]]:
        described: list[dict[str, list[str]]] = super().get_auth()
        schemes = self._schemes()
        return [item for item in described if schemes >= set(item)]

    def _schemes(self) -> set[str]:
        permissions: list[BasePermission] = self.view.get_permissions()
        if any(isinstance(item, AllowAny) for item in permissions):
            return set()
        if any(isinstance(item, MayConnect) for item in permissions):
            return {"device", "clientCertificate", "deviceBasic"}
        if any(isinstance(item, IsDeviceOrMember) for item in permissions):
            return {"device", "clientCertificate", "member"}
        if any(isinstance(item, MayEnroll) for item in permissions):
            return {"enrollment", "member"}
        return {"member"}

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction=direction)
        if direction != "response":
            return bodies
        for status in self._errors():
            described = self._get_response_for_code(ErrorsSerializer, status)
            bodies.setdefault(status, {**described, "description": ERRORS[status]})
        return dict(sorted(bodies.items()))

    def _errors(self) -> set[str]:
        found = {"400", "405", "406", "429"}
        if "{" in self.path:
            found |= {"404"}
        if self._schemes():
            found |= {"401", "403", "404"}
        if self.method in {"POST", "PATCH", "PUT", "DELETE"}:
            found |= {"403", "404", "409"}
        if self.method in {"POST", "PATCH", "PUT"}:
            found |= {"413", "415"}
        return found


class TextField(OpenApiSerializerFieldExtension):
    """Says what a text has to look like."""

    target_class = "core.rest.fields.Text"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        field = self.target
        schema: dict[str, Any] = {"type": "string", "pattern": f"^(?:{field.pattern})$"}
        if field.max_length is not None:
            schema["maxLength"] = field.max_length
        if not field.allow_blank:
            schema["minLength"] = 1
        return schema


class StrictBody(OpenApiSerializerExtension):
    """Says that no other field is taken."""

    target_class = "core.rest.strict.Strict"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        if direction == "request":
            schema["additionalProperties"] = False
        return schema
