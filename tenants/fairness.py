"""Let tenants take turns for the work of the background processes."""

import random

from django.db.models import BigIntegerField, F, Func, TextField, Value
from django.db.models.functions import Cast


def random_tenant_first() -> Func:
    """Return an ordering that groups rows by tenant, with the tenants in random order.

    A process takes the first row that no other process has locked. So each tenant with work
    gets the same share, however many rows it has and however long they take.
    """
    return Func(
        Cast(F("tenant_id"), TextField()),
        Value(random.getrandbits(62)),
        function="hashtextextended",
        output_field=BigIntegerField(),
    )
