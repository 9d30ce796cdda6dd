"""Prepared statements with which a device fetches its commands.

All devices of a bulk command fetch at once, so these queries must be cheap.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from core.prepared_statements import PreparedStatement
from devices.registry.signature_algorithms import EDDSA
from devices.remote_control.models import CommandHistory, CommandSigningKey
from tenants.context import current_tenant_id

_COMMAND_FIELDS = tuple(field.attname for field in CommandHistory._meta.concrete_fields)
_KEY_FIELDS = tuple(field.attname for field in CommandSigningKey._meta.concrete_fields)
_COMMAND_COLUMNS = ", ".join(_COMMAND_FIELDS)

_OPEN_COMMANDS = PreparedStatement(
    "commands_unseen",
    "uuid, uuid, bigint, timestamptz, int",
    f"""
    SELECT {_COMMAND_COLUMNS} FROM remote_control_commandhistory
    WHERE tenant_id = $1 AND device_id = $2 AND sequence > $3 AND expires_at > $4
        AND status IN ('queued', 'sent', 'delivered', 'running')
    ORDER BY sequence LIMIT $5
    """,
)
# The statement itself locks the row of the queue. While it waits for the lock, other
# transactions may change rows, which PostgreSQL then checks again. The statement does not
# see commands that are added meanwhile; the device gets a push notification for them.
_MARK_SENT = PreparedStatement(
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
    RETURNING {_COMMAND_COLUMNS}
    """,
)
_SIGNING_KEY = PreparedStatement(
    "command_signing_key",
    "uuid, uuid, text",
    f"""
    SELECT {", ".join(_KEY_FIELDS)} FROM remote_control_commandsigningkey
    WHERE tenant_id = $1 AND replaced_at IS NULL AND algorithm = coalesce(
        (SELECT signature_algorithm FROM devices_devicehardware WHERE device_id = $2), $3)
    """,
)


def open_commands(
    device_id: UUID, *, after: int, now: datetime, limit: int
) -> list[CommandHistory]:
    """Return a device's open, unexpired commands, ordered by sequence number.

    Args:
        after: only commands with a higher sequence number.
        limit: the maximum number of commands.
    """
    rows = _OPEN_COMMANDS.fetch_all(current_tenant_id(), device_id, after, now, limit)
    return [_command(row) for row in rows]


def mark_sent(device_id: UUID, *, after: int, up_to: int, now: datetime) -> list[CommandHistory]:
    """Mark a device's queued commands as sent. Return these commands in no particular order.

    Args:
        after: only commands with a higher sequence number.
        up_to: the highest sequence number, inclusive.
    """
    rows = _MARK_SENT.fetch_all(current_tenant_id(), device_id, after, up_to, now)
    return [_command(row) for row in rows]


def signing_key(device_id: UUID | None) -> CommandSigningKey | None:
    """Return the key that signs the commands of a device, if there is one.

    Args:
        device_id: None for a device that knows Ed25519.
    """
    row = _SIGNING_KEY.fetch_one(current_tenant_id(), device_id, EDDSA)
    if row is None:
        return None
    return CommandSigningKey.from_db("default", _KEY_FIELDS, row)


def _command(row: tuple[Any, ...]) -> CommandHistory:
    command = CommandHistory.from_db("default", _COMMAND_FIELDS, row)
    # Outside the ORM, the connection returns JSON columns as text.
    command.parameters = json.loads(str(command.parameters))
    return command
