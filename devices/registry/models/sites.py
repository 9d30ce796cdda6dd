"""The model of sites, which are the places where devices stand."""

import uuid
from collections.abc import Collection
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

MAX_LEVELS = 3


class SiteQuerySet(models.QuerySet["Site"]):
    """Query methods of sites."""

    def matching(self, value: str) -> Self:
        """Filter the site with this name or id."""
        try:
            return self.filter(Q(name=value) | Q(pk=UUID(value)))
        except ValueError:
            return self.filter(name=value)

    def below(self, sites: Collection[UUID]) -> Self:
        """Filter sites that are one of these, or are in one of these."""
        return self.filter(path__overlap=list(sites))


class Site(TenantOwned):
    """A place where devices stand, such as a shop, or a region that contains sites.

    A site can be in another site, in at most `MAX_LEVELS` levels. `path` has the ids of the
    sites from the top level to this site. `opening_hours` are entries of
    `core.weekly_times`, in `time_zone`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    parent = models.ForeignKey(
        "self", on_delete=models.RESTRICT, null=True, blank=True, related_name="children"
    )
    path = ArrayField(models.UUIDField(), editable=False)
    address = models.CharField(max_length=500, blank=True)
    latitude = models.FloatField(null=True, blank=True)  # degrees
    longitude = models.FloatField(null=True, blank=True)  # degrees
    time_zone = models.CharField(max_length=64, blank=True)  # a name of the IANA database
    contact = models.CharField(max_length=200, blank=True)
    opening_hours: Any = models.JSONField(default=list, blank=True)
    notes = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField(editable=False)

    objects = TenantManager.from_queryset(SiteQuerySet)()
    every_tenant = SiteQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="site_name_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="site_with_its_tenant"),
            SameTenant("parent", name="site_in_its_tenants_site"),
            models.CheckConstraint(
                name="site_coordinates",
                condition=Q(latitude__isnull=True, longitude__isnull=True)
                | Q(latitude__range=(-90, 90), longitude__range=(-180, 180)),
            ),
        )

    def __str__(self) -> str:
        return self.name
