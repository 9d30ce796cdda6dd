"""Errors raised by the services of maintenance windows."""

from core.errors import Conflict, Invalid, Missing


class InvalidWindow(Invalid):
    code = "invalid_maintenance_window"


class NoSuchWindow(Missing):
    code = "maintenance_window_not_found"
    sentence = "There is no such maintenance window."


class WindowIsNotOpen(Conflict):
    code = "maintenance_window_not_open"
    sentence = "Only an open window that does not repeat can be ended. Change or delete this one."
