"""The floor of `benchmarks.fast`: an RSGI application that writes `last_seen`, and nothing else.

The same web server runs it, with the same number of processes, on the same tables with
row-level security. It compares no facts, reads no next steps, and has no limits.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from core.group_commit import GroupCommit
from tenants import tokens
from tenants.postgresql.row_security import SETTING

SQL = """
    UPDATE devices_device device SET last_seen = now()
    FROM unnest($1::text[]) AS asked (digest)
    JOIN devices_devicetoken token ON token.digest = asked.digest
    WHERE device.id = token.device_id AND device.tenant_id = token.tenant_id
"""
PLAN = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
ANSWER = b'{"status": "ok"}'
HEADERS = [("content-type", "application/json")]


class Application:
    """The RSGI application."""

    def __init__(self) -> None:
        self._statement: Any = None
        self._batches: GroupCommit[str, bool] = GroupCommit(
            self._write, most=500, most_waiting=10_000
        )

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        await protocol()
        token = scope.headers.get("authorization").removeprefix("Bearer ")
        await self._batches.ask(tokens.digest(token))
        protocol.response_bytes(200, HEADERS, ANSWER)

    async def _write(self, digests: Sequence[str]) -> Mapping[int, bool]:
        if self._statement is None:
            connection = await asyncpg.connect(
                os.environ["DATABASE_URL"], server_settings={SETTING: "*", **PLAN}
            )
            self._statement = await connection.prepare(SQL)
        await asyncio.shield(self._statement.fetch(list(digests)))
        return {}


app = Application()
