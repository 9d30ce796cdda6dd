"""Questions that arrive while a statement runs are answered by the next one."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from core.group_commit import GroupCommit, QueueFull


class Squares:
    """Answers numbers with their squares. The batch with a 0 fails."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def run(self, batch: Sequence[int]) -> Mapping[int, int]:
        self.batches.append(list(batch))
        await asyncio.sleep(0)
        if 0 in batch:
            raise ValueError
        return {place: number**2 for place, number in enumerate(batch) if number > 0}


def ask(squares: Squares, *numbers: int, most: int = 3, most_waiting: int = 100) -> list[object]:
    async def all_at_once() -> list[object]:
        group: GroupCommit[int, int] = GroupCommit(
            squares.run, most=most, most_waiting=most_waiting
        )
        return await asyncio.gather(*map(group.ask, numbers), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_each_question_gets_its_own_answer() -> None:
    squares = Squares()
    assert ask(squares, 1, 2, 3, 4, 5) == [1, 4, 9, 16, 25]
    assert squares.batches == [[1, 2, 3], [4, 5]]


def test_a_question_without_an_answer_is_answered_with_none() -> None:
    assert ask(Squares(), 1, -2, 3) == [1, None, 9]


def test_a_failed_batch_does_not_stop_the_next_ones() -> None:
    assert ask(Squares(), 1, 0, 3, 4) == [None, None, None, 16]


def test_too_many_waiting_questions_are_refused() -> None:
    *answers, refused = ask(Squares(), 1, 2, most_waiting=1)
    assert answers == [1]
    assert isinstance(refused, QueueFull)


@pytest.mark.parametrize("most", [1, 2])
def test_a_caller_that_gives_up_takes_no_answer_from_others(most: int) -> None:
    async def run() -> object:
        group: GroupCommit[int, int] = GroupCommit(Squares().run, most=most, most_waiting=9)
        first, second = (asyncio.create_task(group.ask(number)) for number in (2, 3))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(run()) == 9
