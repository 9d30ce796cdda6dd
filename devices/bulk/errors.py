"""Errors raised by the services of bulk operations."""

from core.errors import Conflict, Invalid, Missing


class UnknownAction(Invalid):
    code = "bulk_action_unknown"


class InvalidParameters(Invalid):
    code = "bulk_parameters_invalid"


class NothingSelected(Conflict):
    """The filter matches no device that is not retired."""

    code = "no_devices_found"
    sentence = "No device matches. Retired devices are never changed."


class NoSuchOperation(Missing):
    code = "bulk_operation_not_found"


class OperationStateConflict(Conflict):
    """The state of the operation does not allow this."""

    code = "bulk_operation_state_conflict"


class CannotUndo(Conflict):
    code = "bulk_operation_cannot_be_undone"
