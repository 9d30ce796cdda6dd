"""Errors raised by the services of rules and alerts."""

from core.errors import Conflict, Invalid, Missing


class InvalidRule(Invalid):
    code = "invalid_rule"


class NoSuchRule(Missing):
    code = "rule_not_found"
    sentence = "There is no such rule."


class OverrideNotFound(Missing):
    code = "override_not_found"
    sentence = "There is no such override."


class NoSuchAlert(Missing):
    code = "alert_not_found"
    sentence = "There is no such alert."


class RuleExists(Conflict):
    code = "rule_exists"


class AlertIsClosed(Conflict):
    code = "alert_closed"
    sentence = "The alert is closed."


class NotAMember(Invalid):
    code = "not_a_member"
