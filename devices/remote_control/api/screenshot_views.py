"""Member API endpoints for screenshots."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from core.querysets import first_or_raise
from core.rest.strict import RejectUnknownParameters
from devices.registry.api.views import get_device
from devices.remote_control.api.serializers import ScreenshotSerializer
from devices.remote_control.errors import NoSuchScreenshot
from devices.remote_control.models import Screenshot


class ScreenshotsView(ListAPIView[Screenshot]):
    """List a device's screenshots, newest first."""

    serializer_class = ScreenshotSerializer
    ordering = ("-taken_at", "-id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[Screenshot]:
        device = get_device(self.kwargs["device_id"])
        return Screenshot.objects.filter(device=device).defer("image", "thumbnail")


class ScreenshotView(APIView):
    """Return the image of one screenshot."""

    @extend_schema(
        responses={
            (200, "image/png"): OpenApiResponse(
                {"type": "string", "format": "binary"},
                description="The image in PNG, JPEG or WebP.",
            )
        }
    )
    def get(self, request: Request, screenshot_id: UUID) -> HttpResponse:
        return image_response(screenshot_or_404(screenshot_id))


def image_response(screenshot: Screenshot) -> HttpResponse:
    """Return a screenshot's image.

    The image was uploaded by a device, so it is untrusted. The headers keep browsers from
    treating it as anything but an image.
    """
    return HttpResponse(
        bytes(screenshot.image),
        content_type=screenshot.content_type,
        headers={
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        },
    )


def screenshot_or_404(screenshot_id: UUID) -> Screenshot:
    rows = Screenshot.objects.filter(pk=screenshot_id)
    return first_or_raise(rows, NoSuchScreenshot)
