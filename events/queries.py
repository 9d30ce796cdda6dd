"""SQL of hot paths: choosing the next deliveries."""

from datetime import datetime
from uuid import uuid4

from core.prepared_statements import PreparedStatement
from events.models.channel import TEST_NAME
from events.models.event import NO_OWNER

MAX_OWNERS = 100  # in one batch

# Jump from owner to owner in the index, and take the first due rows of each. A delivery waits
# for older ones of its stream, as in `DeliveryQuerySet.due`.
_IN_TURNS = PreparedStatement(
    "deliveries_in_turns",
    "uuid, timestamptz, int, int",
    """
    WITH RECURSIVE owners(owner) AS (
        (SELECT owner FROM events_delivery
         WHERE dead_at IS NULL AND due_at <= $2 AND owner >= $1 ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT owner FROM events_delivery
                WHERE dead_at IS NULL AND due_at <= $2 AND owner > owners.owner
                ORDER BY owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL
    ), chosen AS MATERIALIZED (SELECT owner FROM owners WHERE owner IS NOT NULL LIMIT $3)
    SELECT due.id, (SELECT count(*) FROM chosen) FROM chosen CROSS JOIN LATERAL (
        SELECT id FROM events_delivery AS delivery
        WHERE owner = chosen.owner AND dead_at IS NULL AND due_at <= $2 AND NOT EXISTS (
            SELECT FROM events_delivery AS older
            WHERE older.listener = delivery.listener AND older.stream = delivery.stream
            AND older.event_id < delivery.event_id AND older.dead_at IS NULL
        )
        ORDER BY id LIMIT greatest(1, $4 / (SELECT count(*) FROM chosen))
    ) AS due
    """,
)

# Webhooks with due messages, and the first messages of each. The statement looks at a few
# messages of each channel, not at all messages that wait. A tenant with many channels gets no
# more than its share of the batch. Test messages are sent at once, also on a paused channel.
_MESSAGES_IN_TURNS = PreparedStatement(
    "messages_in_turns",
    "timestamptz, int, int",
    # The name of tests is no parameter, so that the index of tests can be used.
    f"""
    WITH ready AS (
        SELECT channel.id,
            row_number() OVER (PARTITION BY channel.tenant_id ORDER BY random()) AS turn
        FROM events_channel AS channel
        WHERE channel.kind = 'webhook' AND channel.is_enabled
        AND (channel.rests_until IS NULL OR channel.rests_until <= $1)
        AND EXISTS (
            SELECT FROM events_channeldelivery AS message WHERE message.channel_id = channel.id
            AND message.delivered_at IS NULL AND message.dead_at IS NULL AND message.due_at <= $1
        )
        ORDER BY turn, random() LIMIT $3
    ), due AS (
        SELECT first.id, first.tenant_id FROM ready CROSS JOIN LATERAL (
            SELECT message.id, message.tenant_id FROM events_channeldelivery AS message
            WHERE message.channel_id = ready.id
            AND message.delivered_at IS NULL AND message.dead_at IS NULL AND message.due_at <= $1
            AND NOT EXISTS (
                SELECT FROM events_channeldelivery AS older
                WHERE older.channel_id = message.channel_id
                AND older.device_id = message.device_id AND older.id < message.id
                AND older.delivered_at IS NULL AND older.dead_at IS NULL
            )
            ORDER BY message.id
            LIMIT least($2, ceil($3::float / (SELECT count(*) FROM ready)))
        ) AS first
        UNION
        SELECT message.id, message.tenant_id FROM events_channeldelivery AS message
        JOIN events_channel AS channel ON channel.id = message.channel_id
        WHERE channel.kind = 'webhook' AND message.name = '{TEST_NAME}'
        AND message.delivered_at IS NULL AND message.dead_at IS NULL AND message.due_at <= $1
    )
    SELECT id FROM due
    ORDER BY row_number() OVER (PARTITION BY tenant_id ORDER BY id), id LIMIT $3
    """,
)


def due_in_turns(*, now: datetime, batch_size: int) -> list[int]:
    """Return the ids of due deliveries. The tenants share the batch, so none delays another.

    With `MAX_OWNERS` tenants or more, each batch begins with a random one.
    """
    rows = _IN_TURNS.fetch_all(str(NO_OWNER), now, MAX_OWNERS, batch_size)
    if rows and rows[0][1] == MAX_OWNERS:
        rows = _IN_TURNS.fetch_all(str(uuid4()), now, MAX_OWNERS, batch_size) or rows
    return [row[0] for row in rows]


def due_messages(*, now: datetime, most_of_channel: int, most: int) -> list[int]:
    """Return the ids of due messages to webhooks. The tenants share the batch.

    The messages of a device are sent to a channel in order, so the later ones are not due.
    """
    rows = _MESSAGES_IN_TURNS.fetch_all(now, most_of_channel, most)
    return [row[0] for row in rows]
