"""Run one statement for many requests that arrive at about the same time.

While a statement runs, the next requests are collected. So a request on an idle server waits
for nothing, and on a busy server one statement serves hundreds of requests.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Q = TypeVar("Q")  # a question
R = TypeVar("R")  # an answer


class QueueFull(Exception):
    """Too many questions are waiting."""


class GroupCommit(Generic[Q, R]):
    """Questions that are answered in batches, one batch at a time. It is used by one event loop.

    Args:
        run: answers a batch. It returns the answers by the position of the question. A question
            without an answer is answered with None. If it raises an error, so are all.
        most: questions in one batch.
        most_waiting: questions that wait for the next batches.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Awaitable[Mapping[int, R]]],
        *,
        most: int,
        most_waiting: int,
    ) -> None:
        self._run, self._most, self._most_waiting = run, most, most_waiting
        self._waiting: deque[tuple[Q, asyncio.Future[R | None]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> R | None:
        """Return the answer, or None if there is none.

        Raises:
            QueueFull: too many questions are waiting.
        """
        if len(self._waiting) >= self._most_waiting:
            raise QueueFull
        answer: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(self._most, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(count)])
        finally:
            self._worker = None

    async def _answer(self, batch: list[tuple[Q, "asyncio.Future[R | None]"]]) -> None:
        answers: Mapping[int, R] = {}
        try:
            answers = await self._run([question for question, _ in batch])
        except Exception:
            logger.exception("A batch of %d questions has failed", len(batch))
        finally:
            for position, (_, answer) in enumerate(batch):
                if not answer.done():  # the caller may have given up
                    answer.set_result(answers.get(position))
