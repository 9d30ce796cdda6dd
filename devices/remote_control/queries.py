"""The statements of a device that fetches its commands, written out and prepared.

A command to a thousand devices is fetched by all of them at once.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from core.prepared_statements import Prepared
from devices.remote_control.models import CommandHistory, CommandSigningKey
from tenants.context import current_tenant_id

_COMMAND = tuple(field.attname for field in CommandHistory._meta.concrete_fields)
_KEY = tuple(field.attname for field in CommandSigningKey._meta.concrete_fields)
_COLUMNS = ", ".join(_COMMAND)

_UNSEEN = Prepared(
    "commands_unseen",
    "uuid, uuid, bigint, timestamptz, int",
    f"""
    SELECT {_COLUMNS} FROM remote_control_commandhistory
    WHERE tenant_id = $1 AND device_id = $2 AND sequence > $3 AND expires_at > $4
        AND status IN ('queued', 'sent', 'delivered', 'running')
    ORDER BY sequence LIMIT $5
    """,
)
# The queue's row is held by the statement itself. What was changed while it waited is
# looked at again; what was added meanwhile is told to the device by its own wake-up.
_HAND_OUT = Prepared(
    "commands_hand_out",
    "uuid, uuid, bigint, bigint, timestamptz",
    f"""
    WITH queue AS MATERIALIZED (
        SELECT device_id FROM devices_nextsteps WHERE device_id = $2
        FOR NO KEY UPDATE
    )
    UPDATE remote_control_commandhistory SET status = 'sent', sent_at = $5
    WHERE tenant_id = $1 AND device_id = (SELECT device_id FROM queue)
        AND sequence > $3 AND sequence <= $4 AND expires_at > $5 AND status = 'queued'
    RETURNING {_COLUMNS}
    """,
)
_SIGNING_KEY = Prepared(
    "command_signing_key",
    "uuid",
    f"""
    SELECT {", ".join(_KEY)} FROM remote_control_commandsigningkey
    WHERE tenant_id = $1 AND replaced_at IS NULL
    """,
)


def unseen(
    device_id: UUID, *, after: int, now: datetime, limit: int
) -> list[CommandHistory]:
    """The current tenant's open commands to a device past a number, in their order."""
    rows = _UNSEEN.rows(current_tenant_id(), device_id, after, now, limit)
    return [_command(row) for row in rows]


def hand_out(
    device_id: UUID, *, after: int, up_to: int, now: datetime
) -> list[CommandHistory]:
    """What was queued for a device between two numbers, noted as handed out."""
    rows = _HAND_OUT.rows(current_tenant_id(), device_id, after, up_to, now)
    return [_command(row) for row in rows]


def signing_key() -> CommandSigningKey | None:
    """The key that signs for the current tenant."""
    row = _SIGNING_KEY.row(current_tenant_id())
    if row is None:
        return None
    return CommandSigningKey.from_db("default", _KEY, row)


def _command(row: tuple[Any, ...]) -> CommandHistory:
    """JSON comes as its text, where the ORM does not ask for it."""
    command = CommandHistory.from_db("default", _COMMAND, row)
    command.parameters = json.loads(str(command.parameters))
    return command
