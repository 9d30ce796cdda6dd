"""What several endpoints have in common in the OpenAPI document."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_serializer
from rest_framework import serializers


@extend_schema_serializer(component_name="ErrorDetail")
class ErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable error code, for programs.")
    detail = serializers.CharField(help_text="Description of the error, for people.")
    attr = serializers.CharField(
        allow_null=True,
        help_text="Name of the invalid field; null if the error is not about one field.",
    )


@extend_schema_serializer(component_name="ErrorResponse")
class ErrorsSerializer(serializers.Serializer[Any]):
    """The format of every error response."""

    type = serializers.ChoiceField(choices=("validation_error", "client_error", "server_error"))
    errors: Any = ErrorSerializer(many=True)
    current = serializers.DictField(
        required=False,
        help_text="The stored state. Only if the request was based on an earlier state.",
    )


# In a schema without a serializer: the name under which the document has it as a component.
COMPONENT = "x-component"
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    OpenApiTypes.STR,
    location="header",
    description="The `ETag` of the copy that the caller has.",
)
NOT_MODIFIED = OpenApiResponse(description="The caller's copy is current. There is no body.")


def error_response(description: str) -> OpenApiResponse:
    """Return the documentation of an error that only one endpoint has."""
    return OpenApiResponse(ErrorsSerializer, description=description)
