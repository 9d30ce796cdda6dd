"""Errors raised by the services of the hawkBit API."""

from core.errors import Gone, Invalid, Missing


class ControllerNotFound(Missing):
    code = "controller_not_found"
    sentence = "The tenant has no such device, or the credential is for another one."


class ActionNotFound(Missing):
    code = "action_not_found"
    sentence = "The device has no such action."


class ActionClosed(Gone):
    code = "action_closed"
    sentence = "The action has ended."


class ArtifactNotFound(Missing):
    code = "artifact_not_found"
    sentence = "The device is not offered this file."


class InvalidHawkbitSettings(Invalid):
    code = "invalid_hawkbit_settings"


class InvalidGatewayToken(Invalid):
    code = "invalid_gateway_token"
