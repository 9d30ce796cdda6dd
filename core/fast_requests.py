"""Kinds of requests that one statement answers for many callers at once.

The server reads such a request on its event loop and answers it without Django's request
cycle. A kind handles the usual case only, which changes almost nothing. Everything else, and
every doubt, goes the ordinary way: the kind returns None, or its statement returns no row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from core.limits import Limit

Row = Mapping[str, Any]
JSON_TYPES = {"application/json", "application/json;charset=utf-8"}


class FastRequest(NamedTuple):
    """A request without query parameters.

    Attributes:
        path: without the prefix of the kind.
        digest: of the device's token, see `tenants.tokens.digest`; empty for an anonymous kind.
        address: of the client; None if it is unreadable.
        header: returns a header; None if it is missing or sent more than once.
    """

    path: str
    digest: str
    address: str | None
    body: bytes
    header: Callable[[str], str | None]

    @property
    def has_json(self) -> bool:
        kind = self.header("content-type")
        return kind is not None and kind.lower().replace(" ", "") in JSON_TYPES


class FastQuestion(NamedTuple):
    """What the statement is asked for a request.

    Attributes:
        values: parameters of the statement.
        facts: whatever the answer needs besides the row.
    """

    values: tuple[Any, ...] = ()
    facts: Any = None


class FastAnswer(NamedTuple):
    """An answer.

    Attributes:
        limits: that count the request, with their keys and what it costs.
        tenant_id: of the device.
    """

    limits: Sequence[tuple[Limit, str, int]]
    content: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    tenant_id: str = ""


class FastKind(ABC):
    """A kind of requests.

    Attributes:
        path: the whole path, or its beginning if it ends with a slash.
        status: of the answers. Their headers are those of the ordinary answers.
        own_headers: names of the headers that each answer has a value of its own for.
        is_anonymous: whether the requests have no credential instead of a device's token.
        statement: SQL whose parameters are arrays with one element for each request, the values
            of the questions. It returns at most one row for each request, whose `place` is the
            request's number from 1.
    """

    method: ClassVar[str]
    path: ClassVar[str]
    status: ClassVar[int]
    statement: ClassVar[str]
    own_headers: ClassVar[Set[str]] = frozenset()
    is_anonymous: ClassVar[bool] = False

    @abstractmethod
    def question(self, request: FastRequest) -> FastQuestion | None:
        """Return what to ask, or None for the ordinary way."""

    @abstractmethod
    def answer(self, facts: Any, row: Row) -> FastAnswer | None:
        """Return the answer, or None for the ordinary way.

        Neither of the two methods can run a query: an attempt leads to the ordinary way.

        Args:
            facts: of the question.
        """
