"""The bulk actions of all packages."""

from functools import cache

from devices.bulk.actions import BulkAction
from devices.bulk.errors import UnknownAction
from devices.bulk.extension_points import bulk_actions


def action_named(name: str) -> BulkAction:
    """Return the action with this name.

    Raises:
        UnknownAction: there is none.
    """
    try:
        return all_actions()[name]
    except KeyError:
        raise UnknownAction("There is no such action.", field="action") from None


@cache
def all_actions() -> dict[str, BulkAction]:
    """Return all actions by name."""
    return {action.name: action for callback in bulk_actions for action in callback()}
