"""Forget a site that is being deleted."""

from devices.configurations.models import DeviceConfiguration
from devices.registry.models import Site


def forget_site(site: Site) -> None:
    """Remove the site from its layer, if the layer is empty. The saved versions are kept."""
    DeviceConfiguration.objects.filter(site=site, document={}).update(site=None)
