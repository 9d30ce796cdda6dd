"""Convert exceptions, including every `DomainError`, to HTTP error responses."""

from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig
from drf_standardized_errors import formatter, handler
from drf_standardized_errors.types import VALIDATION_ERROR, Error, ErrorResponse
from rest_framework import exceptions, status

from core.database_errors import is_unavailable
from core.errors import (
    Busy,
    Conflict,
    DomainError,
    Gone,
    Invalid,
    Missing,
    Refused,
    Unavailable,
    random_retry_after,
)
from provisioning.api.outside import DATABASE_UNAVAILABLE
from tenants.api.throttles import count_rejected_request

HTTP_STATUS: dict[type[DomainError], int] = {
    Invalid: status.HTTP_400_BAD_REQUEST,
    Refused: status.HTTP_403_FORBIDDEN,
    Missing: status.HTTP_404_NOT_FOUND,
    Conflict: status.HTTP_409_CONFLICT,
    Gone: status.HTTP_410_GONE,
    Busy: status.HTTP_429_TOO_MANY_REQUESTS,
    Unavailable: status.HTTP_503_SERVICE_UNAVAILABLE,
}


class DomainRefusal(exceptions.APIException):
    """A `DomainError` with its HTTP status."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(str(error), error.code)
        self.field = error.field
        self.details, self.current = error.details, error.current
        self.wait = getattr(error, "retry_after", None)  # becomes `Retry-After`
        self.status_code = next(
            code for kind, code in HTTP_STATUS.items() if isinstance(error, kind)
        )


class ExceptionHandler(handler.ExceptionHandler):
    """Convert the exceptions of an endpoint to exceptions of REST framework."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        match exc:
            case _ if is_unavailable(exc):
                return DatabaseUnavailable()
            case Refused() if wait := count_rejected_request():
                return exceptions.Throttled(wait)
            case DomainError():
                return DomainRefusal(exc)
            case RequestDataTooBig():
                return TooBig()
            case BadRequest():
                return exceptions.ParseError(str(exc))
            case (
                exceptions.NotAuthenticated()
                | exceptions.AuthenticationFailed()
                | exceptions.PermissionDenied()
            ) if wait := count_rejected_request():
                return exceptions.Throttled(wait)
            case _:
                return super().convert_known_exceptions(exc)


class DatabaseUnavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = DATABASE_UNAVAILABLE
    default_code = "unavailable"

    def __init__(self) -> None:
        super().__init__()
        self.wait = random_retry_after()  # becomes `Retry-After`


class TooBig(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is too large."
    default_code = "request_too_large"


class ExceptionFormatter(formatter.ExceptionFormatter):
    """Render errors in the API's error format.

    For a `DomainError`, the response also contains the invalid fields and, in `current`,
    the stored state.
    """

    def get_error_type(self) -> Any:
        """Return `validation_error` also for a `DomainError` with status 400."""
        is_domain_error = isinstance(self.exc, DomainRefusal)
        if is_domain_error and self.exc.status_code == status.HTTP_400_BAD_REQUEST:
            return VALIDATION_ERROR
        return super().get_error_type()

    def get_error_response(self, error_type: Any, errors: Any) -> ErrorResponse:
        if isinstance(self.exc, DomainRefusal):
            errors[0].attr = self.exc.field
            details = [Error(d.code, d.sentence, d.field) for d in self.exc.details]
            errors = details or errors
        return super().get_error_response(error_type, errors)

    def format_error_response(self, error_response: ErrorResponse) -> Any:
        body = super().format_error_response(error_response)
        if isinstance(self.exc, DomainRefusal) and self.exc.current is not None:
            body["current"] = self.exc.current
        return body
