"""Answer the most frequent requests of devices on the event loop, many with one statement.

Each kind of requests has one connection and one prepared statement. While it runs, the next
requests are collected. A request that is not answered here goes the ordinary way, so rules
for everything unusual are in one place.

The statements run with the scope of all tenants, since each serves requests of many tenants.
They select by the digests of tokens only and join on the tenant's id as well, and nothing else
runs on these connections.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import getrandbits
from typing import Any
from urllib.parse import urlencode

import asyncpg
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.urls import resolve

from core.fast_requests import FastAnswer, FastKind, FastRequest, Row
from core.group_commit import GroupCommit, QueueFull
from core.limits import spend_ahead
from devices.registry.models import DeviceToken
from provisioning.fair_threads import FairThreads
from provisioning.observability import FAST_ANSWERS, REQUESTS, SECONDS, log_request
from tenants import tokens
from tenants.middleware import forwarded_address, is_trusted
from tenants.postgresql.row_security import SETTING

MAX_BATCH = 500
MAX_WAITING = 2000
ANSWERED_WITHIN = 2.0  # seconds; then a batch goes the ordinary way
REST_SECONDS = 5.0  # without fast answers, after a batch has failed
MAX_TEMPLATES = 1000
MAX_HEADER = 200  # characters of the headers that are kept
SCHEME = "Bearer "
PARAMETERS = {
    SETTING: "*",
    "application_name": "provisioning-web-fast",
    "statement_timeout": "2000",
    # A plan for the values of each batch would take longer than the statement itself, and must
    # not depend on the moment at which the statement was prepared.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# Parameters of `DATABASE_URL` that asyncpg knows too. The others concern libpq.
CONNECTION_OPTIONS = {
    "passfile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
}
REFUSED_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
# Each answer has its own values of these headers.
OWN_HEADERS = {"x-request-id", "content-length", "etag"}

logger = logging.getLogger(__name__)

Headers = list[tuple[str, str]]
Origin = tuple[str, str, str, bool]  # scheme, host, forwarded scheme, whether of a trusted proxy


class FastPath:
    """The fast answers of one server process. It is used by one event loop.

    Args:
        threads: answer the other requests. They know which callers were refused a moment ago.
    """

    def __init__(self, kinds: Sequence[FastKind], threads: FairThreads[Any]) -> None:
        self._kinds = {(kind.method, kind.path): _Line(kind) for kind in kinds}
        self._prefixes = [kind.path for kind in kinds if kind.path.endswith("/")]
        self._threads = threads

    async def answer(self, scope: Any, body: bytes) -> tuple[int, Headers, bytes] | None:
        """Return the answer, or None if the request goes the ordinary way."""
        line = self._line(scope)
        if line is None or scope.query_string or not settings.FAST_PATH:
            return None
        started = time.perf_counter()
        origin = _origin(scope)
        template = None if origin is None else line.templates.get(origin)
        request = None if template is None else _request(scope, body, line.kind)
        if request is None or template is None:
            return None
        credential = scope.headers.get("authorization") or ""
        if self._threads.refuses(credential, request.address, scope.method, scope.path):
            return None
        answer = await line.ask(request)
        if answer is None or not _count(answer):
            return None
        if credential:
            self._threads.note_fast_answer(credential, answer.tenant_id)
        line.requests.inc()
        line.answers.inc()
        seconds = time.perf_counter() - started
        line.seconds.observe(seconds)
        log_request(scope.method, scope.path, line.kind.status, seconds)
        headers = [*template, *answer.headers.items(), ("x-request-id", f"{getrandbits(128):032x}")]
        return line.kind.status, headers, answer.content

    async def ask(self, method: str, path: str, request: FastRequest) -> tuple[int, bytes] | None:
        """Return status and body of the answer to a request that has not come over HTTP.

        None if the request goes the ordinary way.
        """
        line = self._kinds.get((method, path)) if settings.FAST_PATH else None
        if line is None:
            return None
        answer = await line.ask(request)
        if answer is None or not _count(answer):
            return None
        line.answers.inc()
        return line.kind.status, answer.content

    def learn(self, scope: Any, status: int, headers: Headers) -> None:
        """Note the headers of an ordinary answer. Fast answers to the same host repeat them."""
        line = self._line(scope)
        if line is None or status != line.kind.status:
            return
        origin = _origin(scope)
        if (
            origin is not None
            and origin not in line.templates
            and len(line.templates) < MAX_TEMPLATES
        ):
            lower = ((name.lower(), value) for name, value in headers)
            own = OWN_HEADERS | line.kind.own_headers
            line.templates[origin] = [pair for pair in lower if pair[0] not in own]

    def _line(self, scope: Any) -> "_Line | None":
        path = scope.path
        line = self._kinds.get((scope.method, path))
        if line is not None:
            return line
        prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
        return None if prefix is None else self._kinds.get((scope.method, prefix))


class _Line:
    """The requests of one kind: their queue, their connection, and the headers of answers."""

    def __init__(self, kind: FastKind) -> None:
        self.kind = kind
        self.templates: dict[Origin, Headers] = {}
        view = resolve(kind.path + "x" * kind.path.endswith("/")).view_name
        self.requests = REQUESTS.labels(kind.method, view, kind.status)
        self.seconds = SECONDS.labels(view)
        self.answers = FAST_ANSWERS.labels(view)
        self._connection: asyncpg.Connection[Any] | None = None
        self._statement: Any = None
        self._rests_until = 0.0
        self._batches: GroupCommit[tuple[Any, ...], Row] = GroupCommit(
            self._run, most=MAX_BATCH, most_waiting=MAX_WAITING
        )

    async def ask(self, request: FastRequest) -> FastAnswer | None:
        if time.monotonic() < self._rests_until:
            return None
        try:
            question = self.kind.question(request)
            if question is None:
                return None
            row = await self._batches.ask(question.values)
            return None if row is None else self.kind.answer(question.facts, row)
        except QueueFull:  # callers take turns on the ordinary way
            return None
        except SynchronousOnlyOperation:  # a value that is cached for a moment must be read again
            return None
        except Exception:
            logger.exception("A fast answer has failed")
            return None

    async def _run(self, batch: Sequence[tuple[Any, ...]]) -> Mapping[int, Row]:
        if time.monotonic() < self._rests_until:
            return {}
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                rows = await self._fetch(batch)
        except REFUSED_VALUES as error:  # of one request, which the ordinary way answers
            if len(batch) == 1:
                logger.warning("A fast request was refused: %r", error)
                return {}
            middle = len(batch) // 2
            first, second = await self._run(batch[:middle]), await self._run(batch[middle:])
            return {**first, **{middle + place: row for place, row in second.items()}}
        except Exception as error:  # whatever the cause, the ordinary way answers the batch
            logger.warning("Fast answers rest: %r", error)
            self._rests_until = time.monotonic() + REST_SECONDS
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            return {}
        return {row["place"] - 1: row for row in rows}

    async def _fetch(self, batch: Sequence[tuple[Any, ...]]) -> Sequence[Row]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await _connect()
            self._statement = await self._connection.prepare(self.kind.statement)
        columns = (list(column) for column in zip(*batch, strict=True))
        rows: Sequence[Row] = await self._statement.fetch(*columns)
        return rows


def _connect() -> Any:
    database = settings.DATABASES["default"]
    options = {
        name: value for name, value in database["OPTIONS"].items() if name in CONNECTION_OPTIONS
    }
    return asyncpg.connect(
        f"postgresql://?{urlencode(options)}",
        host=database["HOST"] or None,
        port=database["PORT"] or None,
        user=database["USER"] or None,
        password=database["PASSWORD"] or None,
        database=database["NAME"],
        server_settings=PARAMETERS,
    )


def _request(scope: Any, body: bytes, kind: FastKind) -> FastRequest | None:
    def header(name: str) -> str | None:
        values = scope.headers.get_all(name)
        return values[0] if len(values) == 1 else None

    digest = _anonymous(scope) if kind.is_anonymous else _digest(header("authorization"))
    if digest is None or "content-encoding" in scope.headers:
        return None
    forwarded_for = ",".join(scope.headers.get_all("x-forwarded-for"))
    if len(forwarded_for) > MAX_HEADER:
        return None
    address = _address(_peer(scope.client), forwarded_for)
    return FastRequest(scope.path.removeprefix(kind.path), digest, address, body, header)


def _anonymous(scope: Any) -> str | None:
    return None if "authorization" in scope.headers or "cookie" in scope.headers else ""


def _digest(credential: str | None) -> str | None:
    if credential is None or not credential.startswith(SCHEME):
        return None
    token = credential[len(SCHEME) :]
    return tokens.digest(token) if tokens.prefix_of(token) == DeviceToken.prefix else None


def _origin(scope: Any) -> Origin | None:
    """Return what the headers of an answer, or a redirect instead of it, depend on."""
    hosts, schemes = (scope.headers.get_all(name) for name in ("host", "x-forwarded-proto"))
    if len(hosts) != 1 or len(schemes) > 1 or len("".join((*hosts, *schemes))) > MAX_HEADER:
        return None
    return scope.scheme, hosts[0], "".join(schemes), _is_trusted(_peer(scope.client))


@lru_cache(maxsize=10_000)
def _address(peer: str, forwarded_for: str) -> str | None:
    return forwarded_address(peer, forwarded_for)


@lru_cache(maxsize=10_000)
def _is_trusted(peer: str) -> bool:
    return is_trusted(peer)


def _peer(client: str) -> str:
    """Return the address of a connection without its port."""
    return client.rpartition(":")[0].strip("[]")


def _count(answer: FastAnswer) -> bool:
    """Count the request. Return False if it has to wait for its limits."""
    batches = spend_ahead(*answer.limits)
    if batches is None:
        return False
    for batch in batches:
        asyncio.get_running_loop().run_in_executor(None, batch)
    return True
