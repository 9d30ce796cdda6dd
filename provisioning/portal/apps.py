from django.contrib.admin.apps import AdminConfig


class PortalConfig(AdminConfig):
    """Django's admin site, with the portal as its one site."""

    default_site = "provisioning.portal.site.PortalSite"
