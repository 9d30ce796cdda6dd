"""The configuration panel of a site's portal page."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from devices.configurations.admin.edit_target import MANAGE, VIEW
from devices.configurations.documents import flatten
from devices.configurations.models import Scope
from devices.configurations.services.layers import Subject, layer_of
from devices.registry.models import Site


def panel(request: HttpRequest, site: Site) -> SafeString | str:
    """Render what the configuration of a site sets."""
    if not request.user.has_perm(VIEW):
        return ""
    layer = layer_of(Subject(Scope.SITE, site=site))
    document = layer.document if layer else {}
    context = {
        "values": sorted(flatten(document).items()),
        "may_manage": request.user.has_perm(MANAGE),
        "edit_url": reverse("admin:configurations_edit", args=["site", site.pk]),
    }
    return render_to_string("portal/site_configuration.html", context)
