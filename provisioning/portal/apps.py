from django.contrib.admin.apps import AdminConfig


class PortalConfig(AdminConfig):
    """Use the portal as Django's default admin site."""

    default_site = "provisioning.portal.site.PortalSite"
