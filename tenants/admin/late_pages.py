"""Pages of long lists of the portal."""

from typing import Any

from django.core.paginator import Page
from django.db.models import QuerySet
from unfold import paginator

JOINED_ROWS = 1_000  # up to this row, the joins of a list cost little


class InfinitePaginator(paginator.InfinitePaginator):
    """Find the ids of the rows of a late page first, without the joins of the list.

    It avoids COUNT(*) on large tables, and joins of all rows of the earlier pages. Unfold's
    templates know by the name of the class that there is no count to show.
    """

    def page(self, number: Any) -> Page[Any]:
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        if start < JOINED_ROWS or not isinstance(self.object_list, QuerySet):
            return super().page(number)
        ids = self.object_list.values_list("pk", flat=True)[start : start + self.per_page]
        return self._get_page(self.object_list.filter(pk__in=list(ids)), number, self)
