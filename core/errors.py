"""The seven ways the domain says no. Their text is safe to show to any caller."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One of several things that are wrong at once."""

    code: str
    sentence: str
    field: str


class DomainError(Exception):
    """A rule of the domain was broken. Raise a subclass, never this class.

    `code` is stable and for machines; the message is a sentence for people; `field`
    names the input at fault, where there is one.

    `details` says more where several inputs are at fault; `current` is what is there
    now, for whoever wanted to change what is not there any more.
    """

    code: ClassVar[str] = "domain_error"
    sentence: ClassVar[str] = ""  # of a subclass that always says the same
    field: str | None = None
    details: Sequence[Detail] = ()
    current: Any = None

    def __init__(self, sentence: str = "", *, field: str | None = None) -> None:
        super().__init__(sentence or self.sentence)
        self.field = field or self.field


class Invalid(DomainError):
    """The input can never be accepted."""

    code = "invalid"


class Refused(DomainError):
    """The caller may not do this."""

    code = "refused"


class Missing(DomainError):
    """The thing does not exist, or the caller may not know that it does."""

    code = "not_found"


class Unavailable(DomainError):
    """Something that the operator has to put right stands in the way; try again later."""

    code = "unavailable"
    retry_after: ClassVar[int | None] = None  # seconds, where that can be said


class Conflict(DomainError):
    """The thing's present state does not allow this."""

    code = "conflict"


class Gone(DomainError):
    """It was there, and its time is over for good."""

    code = "gone"


class Busy(DomainError):
    """Others have their turn now; the same may be done later."""

    code = "busy"

    def __init__(self, sentence: str, *, retry_after: int) -> None:
        """
        Args:
            retry_after: seconds.
        """
        super().__init__(sentence)
        self.retry_after = retry_after
