"""The default manager of everything a tenant owns."""

from typing import TypeVar

from django.db import models

from tenants.context import current_tenant_id

M = TypeVar("M", bound=models.Model, covariant=True)


class TenantManager(models.Manager[M]):
    """See the current tenant's rows; with no tenant bound, see none.

    Forgetting to bind must show nothing, never everything. Code that means every
    tenant says so: `Model.every_tenant`. The filter is applied when the queryset is
    made, so querysets are built inside functions, never kept at class level.
    """

    def get_queryset(self) -> models.QuerySet[M]:
        queryset = super().get_queryset()
        tenant_id = current_tenant_id()
        if tenant_id is None:
            return queryset.none()
        return queryset.filter(tenant_id=tenant_id)
