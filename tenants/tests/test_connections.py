"""Connections of the database backend across slow transactions."""

from collections.abc import Iterator

import pytest
from django.db import connection, transaction

SLOW_COMMIT = """
CREATE TABLE slow_commit (id int);
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(1.3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON slow_commit
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow_commit()
"""


@pytest.fixture
def slow_table(transactional_db: None) -> Iterator[str]:
    """Create a table for which a commit of new rows takes longer than a second."""
    with connection.cursor() as cursor:
        cursor.execute(SLOW_COMMIT)
    yield "slow_commit"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE slow_commit; DROP FUNCTION slow_commit")


def test_a_commit_that_takes_longer_than_a_second_succeeds(slow_table: str) -> None:
    committed: list[str] = []
    connection.close_if_health_check_failed()  # as at the end of an earlier request
    connection.close_if_unusable_or_obsolete()  # as at the start of the next request

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {slow_table} VALUES (1)")
        transaction.on_commit(lambda: committed.append("yes"))

    assert committed == ["yes"]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {slow_table}")
        assert cursor.fetchone() == (1,)
