"""What the tests of samples share."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from devices.metrics import partitions


@pytest.fixture
def pieces_dropped(transactional_db: None) -> Iterator[None]:
    """No piece that was committed is left: each makes the emptying after a test slower."""
    yield
    for table in (partitions.SAMPLES, *partitions.ROLL_UPS):
        partitions.drop_outlived(table, before=datetime(9000, 1, 1, tzinfo=UTC))
