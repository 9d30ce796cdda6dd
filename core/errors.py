"""Base classes of domain errors. Their messages are safe to show to any caller."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One of several errors in the same input."""

    code: str
    sentence: str
    field: str


class DomainError(Exception):
    """Base class of all domain errors. Raise a subclass, never this class.

    Attributes:
        code: stable identifier for programs.
        sentence: message for people.
        field: name of the invalid input field, if there is one.
        details: the individual errors, if several input fields are invalid.
        current: the current state of the resource, for a caller whose version is outdated.
    """

    code: ClassVar[str] = "domain_error"
    sentence: ClassVar[str] = ""  # default message of a subclass
    field: str | None = None
    details: Sequence[Detail] = ()
    current: Any = None

    def __init__(self, sentence: str = "", *, field: str | None = None) -> None:
        super().__init__(sentence or self.sentence)
        self.field = field or self.field


class Invalid(DomainError):
    """The input is invalid."""

    code = "invalid"


class TakesTooLong(Invalid):
    """A list or a chart would read too many rows."""

    code = "takes_too_long"
    sentence = "This takes too long. Use a narrower filter, or the beginning of an identifier."


class Refused(DomainError):
    """The caller is not allowed to run the operation."""

    code = "refused"


class Missing(DomainError):
    """The resource does not exist, or the caller may not see it."""

    code = "not_found"


class Unavailable(DomainError):
    """The service cannot run the operation until the operator fixes a problem."""

    code = "unavailable"
    retry_after: ClassVar[int | None] = None  # seconds, if known


class Conflict(DomainError):
    """The current state of the resource does not allow the operation."""

    code = "conflict"


class Gone(DomainError):
    """The resource existed and is permanently gone."""

    code = "gone"


class Busy(DomainError):
    """The system is busy. The caller may repeat the request later."""

    code = "busy"

    def __init__(self, sentence: str, *, retry_after: int) -> None:
        """
        Args:
            retry_after: seconds until the request may be repeated.
        """
        super().__init__(sentence)
        self.retry_after = retry_after


def random_retry_after() -> int:
    """Return a value for `Retry-After` in seconds. It is random, so that devices spread out."""
    return random.randint(3, 15)
