"""URL configuration. Paths of the API have no prefix and no trailing slash."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import include, path, reverse
from drf_spectacular.views import SpectacularSwaggerSplitView

from devices.registry.admin.pairing import short_address
from provisioning import health, observability
from provisioning.api import outside
from provisioning.api.document import DocumentView


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:index"))


urlpatterns = [
    path("", home, name="home"),
    path("admin", home),
    path("pair", short_address, name="pair"),
    path("", include("devices.registry.api.urls")),
    path("", include("devices.bulk.api.urls")),
    path("", include("devices.maintenance.api.urls")),
    path("", include("events.api.urls")),
    path("", include("certificates.api.urls")),
    path("", include("devices.metrics.api.urls")),
    path("", include("devices.monitoring.api.urls")),
    path("", include("devices.configurations.api.urls")),
    path("", include("devices.preferences.api.urls")),
    path("", include("devices.remote_control.api.urls")),
    path("", include("devices.updates.api.urls")),
    path("", include("devices.hawkbit.api.urls")),
    path("admin/", admin.site.urls),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("metrics", observability.metrics, name="metrics"),
    path("schema", DocumentView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]

handler400 = outside.bad_request
handler403 = outside.permission_denied
handler404 = outside.not_found
handler500 = outside.server_error
