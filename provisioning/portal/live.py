"""The stream that tells open pages when to look again (server-sent events)."""

from django.http import HttpRequest, HttpResponse

from provisioning.streams import TOPIC_HEADER
from tenants.admin.base import person
from tenants.context import EVERY_TENANT, current_tenant_id

RETRY = "retry: 3000\n\n"  # ms until the browser comes again


def stream(request: HttpRequest) -> HttpResponse:
    """The head of the stream, for whoever is signed in, about their tenant.

    The web server goes on where this ends, as long as the page is open. Behind another
    server the browser comes again after a moment, which is as good, though dearer.
    """
    everything = person(request).is_superuser
    topic = EVERY_TENANT if everything else str(current_tenant_id() or "")
    response = HttpResponse(RETRY, content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx passes each line on at once
    response[TOPIC_HEADER] = topic
    return response
