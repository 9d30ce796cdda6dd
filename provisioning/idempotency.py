"""The header `Idempotency-Key` of POST requests of members, see `accounts.services.idempotency`."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.services import idempotency
from accounts.services.idempotency import StoredResponse
from core import clock
from core.errors import DomainError
from tenants.api.authentication import MemberAuthentication
from tenants.api.permissions import TenantIsBound
from tenants.models import ApiToken

HEADER = "HTTP_IDEMPOTENCY_KEY"


class IdempotencyMiddleware:
    """Run a POST request of a member with this header once, however often it is sent.

    A view whose requests run transactions of their own says so with `runs_own_transactions`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        view_class = getattr(view, "cls", None)
        if request.method != "POST" or HEADER not in request.META or view_class is None:
            return None
        token = _token_of(request)
        if token is None:
            return None  # the view refuses the request, or it is one of a device
        try:
            body = request.body
        except (RequestDataTooBig, UnreadablePostError):
            return None  # the view says so
        address = f"{request.method} {request.get_full_path()}\n"
        try:
            response, stored = idempotency.respond(
                token=token,
                key=request.META[HEADER],
                fingerprint=address.encode() + body,
                run=lambda: _rendered(view(request, *args, **kwargs)),
                in_transaction=not getattr(view_class, "runs_own_transactions", False),
                now=clock.now(),
            )
        except DomainError as error:
            return _limited(request, error)
        return response if stored is None else _limited(request, stored)


class _Answer(APIView):
    """Give a stored response, or an error, within the limits of the member."""

    permission_classes = (TenantIsBound,)
    answer: DomainError | StoredResponse | None = None

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        if isinstance(self.answer, DomainError):
            raise self.answer
        assert self.answer is not None
        response = HttpResponse(self.answer.content, status=self.answer.status)
        response["Content-Type"] = self.answer.content_type
        response["Idempotent-Replayed"] = "true"
        return response


def _limited(request: HttpRequest, answer: DomainError | StoredResponse) -> HttpResponse:
    response: HttpResponse = _rendered(_Answer.as_view(answer=answer)(request))
    return response


def _token_of(request: HttpRequest) -> ApiToken | None:
    """Return the member's API token, and bind its tenant; None if there is no valid one."""
    try:
        found = MemberAuthentication().authenticate(Request(request))
    except (APIException, DomainError):
        return None
    return found[1] if found else None


def _rendered(response: Any) -> Any:
    if hasattr(response, "render"):
        response.render()
    return response
