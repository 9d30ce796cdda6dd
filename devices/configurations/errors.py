"""Errors raised by the configuration services."""

from collections.abc import Sequence

from core.errors import Conflict, Detail, Invalid, Missing
from core.json_schema import SchemaError


class InvalidDocument(Invalid):
    """A document has errors. `details` contains each error with its path."""

    code = "invalid_configuration"

    def __init__(self, faults: Sequence[SchemaError], *, field: str = "document") -> None:
        super().__init__(faults[0].sentence, field=field)
        self.faults = faults
        self.details = [
            Detail(
                code=fault.code,
                sentence=fault.sentence,
                field=f"{field}.{fault.path}" if fault.path else field,
            )
            for fault in faults
        ]


class InvalidSubject(Invalid):
    """The tag or device of a layer is missing, does not exist, or is not allowed."""

    code = "invalid_subject"


class InvalidOrder(Invalid):
    """A list of tags does not contain each tag with a configuration exactly once."""

    code = "invalid_order"


class NoSuchConfiguration(Missing):
    code = "configuration_not_found"
    sentence = "The configuration does not exist."


class NoSuchVersion(Missing):
    code = "configuration_version_not_found"
    sentence = "The configuration has no version with this number."


class UnknownVersion(Invalid):
    """A device reports a version that was never assigned to a device of its tenant."""

    code = "unknown_version"
    sentence = "No configuration of this tenant has this version."
    field = "version"


class ConfigurationChanged(Conflict):
    """The layer has a newer version than the version on which a change is based."""

    code = "configuration_changed"

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The configuration was changed in the meantime. It is now at version {number}.",
            field="based_on",
        )
        self.current = {"number": number}
