"""Views of the portal's lists that are saved under a name, and the columns that a user chose."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from core.characters import is_blank
from core.querysets import first_or_raise
from tenants.errors import InvalidView, NoSuchView
from tenants.models import SavedView, User

MAX_VIEWS = 100  # of a user, and of a tenant, for one list
MAX_QUERY = 2000  # characters
PASSING = frozenset({"p", "e"})  # parameters of a list that are no part of a view


def visible(user: User, model: str) -> QuerySet[SavedView]:
    """Return the views of a list that a user can open: their own, and those of the tenant.

    Args:
        model: the model of the list, such as `devices.device`.
    """
    return SavedView.objects.filter(Q(user=user) | Q(user=None), model=model)


@transaction.atomic
def save(
    *,
    user: User,
    is_shared: bool,
    model: str,
    name: str,
    query: str,
    columns: Sequence[str],
    now: datetime,
) -> SavedView:
    """Save a view. A view of the same owner with this name is replaced.

    Args:
        is_shared: whether it belongs to the tenant, so that all members see it.
        query: the query string of the list, with its filters and its order.
        columns: names of columns; empty for the usual ones.

    Raises:
        InvalidView: the name is not valid, or there are too many views.
    """
    if is_blank(name) or len(name) > 60:
        raise InvalidView("A name has 1 to 60 characters.", field="name")
    pairs = [pair for pair in parse_qsl(query) if pair[0] not in PASSING]
    query = urlencode(pairs)
    if len(query) > MAX_QUERY:
        raise InvalidView("The filters of this list are too long for a view.")
    owner = None if is_shared else user
    own = SavedView.objects.filter(user=owner, model=model)
    view = own.filter(name=name.strip()).first()
    if view is None and own.count() >= MAX_VIEWS:
        raise InvalidView("There are too many views of this list. Delete one first.")
    view = view or SavedView(user=owner, model=model, name=name.strip(), created_at=now)
    view.query, view.columns = query, list(columns)
    try:
        with transaction.atomic():
            view.save()
    except IntegrityError as error:
        raise InvalidView("A view with this name has just been saved.", field="name") from error
    return view


def delete(*, user: User, view_id: UUID, may_delete_shared: bool) -> SavedView:
    """Delete a view of a user, or of the tenant.

    Raises:
        NoSuchView: there is none that the user may delete.
    """
    owned = Q(user=user) | Q(user=None) if may_delete_shared else Q(user=user)
    rows = SavedView.objects.filter(owned)
    view = first_or_raise(rows.filter(pk=view_id), NoSuchView)
    view.delete()
    return view


def choose_columns(*, user: User, model: str, columns: Sequence[str]) -> None:
    """Store the columns that a user wants in a list; an empty sequence means the usual ones."""
    chosen = {**user.list_columns, model: list(columns)}
    user.list_columns = {key: value for key, value in chosen.items() if value}
    user.save(update_fields=["list_columns"])
