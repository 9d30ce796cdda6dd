"""The portal: one admin site for the superuser and for every tenant's members."""

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite

from tenants.models import User


class PortalSite(UnfoldAdminSite):
    """Lets in whoever is somebody's member, and the superuser."""

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return isinstance(user, User) and user.is_active and user.is_staff
