"""How the configurations say no."""

from collections.abc import Sequence

from core.errors import Conflict, Detail, Invalid, Missing
from devices.configurations.document_validation import Fault


class InvalidDocument(Invalid):
    """The document says what cannot be; each fault with its place."""

    code = "invalid_configuration"

    def __init__(self, faults: Sequence[Fault], *, field: str = "document") -> None:
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
    """It is not said whom a layer is for, or somebody who is not there."""

    code = "invalid_subject"


class InvalidOrder(Invalid):
    code = "invalid_order"


class NoSuchConfiguration(Missing):
    code = "configuration_not_found"
    sentence = "There is no such configuration."


class NoSuchVersion(Missing):
    code = "configuration_version_not_found"
    sentence = "There is no such version."


class UnknownVersion(Invalid):
    """A device reports what nobody ever wanted of it."""

    code = "unknown_version"
    sentence = "No configuration ever had this version."
    field = "version"


class InvalidReport(Invalid):
    code = "invalid_report"


class ConfigurationChanged(Conflict):
    """Somebody else has saved it since it was looked at."""

    code = "configuration_changed"

    def __init__(self, number: int) -> None:
        super().__init__(
            f"It was changed meanwhile: it is at version {number} now.",
            field="based_on",
        )
        self.current = {"number": number}
