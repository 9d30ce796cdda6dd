"""The default manager of models that belong to a tenant."""

from typing import TypeVar

from django.db import models

from tenants.context import current_tenant_id

M = TypeVar("M", bound=models.Model, covariant=True)  # noqa: PLC0105


class TenantManager(models.Manager[M]):
    """Return the current tenant's rows; without a current tenant, return none.

    Code that forgets to bind a tenant must see nothing, never everything. Code that works
    on all tenants uses `Model.every_tenant`. The filter is applied when the queryset is
    created, so create querysets inside functions, never at class level.
    """

    def get_queryset(self) -> models.QuerySet[M]:
        queryset = super().get_queryset()
        tenant_id = current_tenant_id()
        if tenant_id is None:
            return queryset.none()
        return queryset.filter(tenant_id=tenant_id)


def rows_of_outer_tenant(model: type[M]) -> models.QuerySet[M]:
    """Return the rows that have the tenant of a row of the outer query; for subqueries."""
    rows: models.QuerySet[M] = model._base_manager.all()
    return rows.filter(tenant_id=models.OuterRef("tenant_id"))
