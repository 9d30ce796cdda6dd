"""Wait for commands: a stream of events, or long polling where streams do not get through."""

import asyncio
from collections.abc import Awaitable, Callable

from provisioning_agent.http import INVALID_RESPONSE, NO_RESPONSE, ConnectionLost
from provisioning_agent.session import Backoff, Session

FAILURES_BEFORE_POLLING = 3  # streams without any data, before long polling is tried
POLLS_BEFORE_STREAM = 20  # long polls, before a stream is tried again
# How a stream ended. A refusal is no sign of a proxy that holds streams back.
HAD_DATA, SILENT, REFUSED = "had data", "silent", "refused"
LONG_POLL_MINIMUM = 1.0  # seconds; a faster answer without news is no long poll


class Push:
    """Keep a connection open over which the server says that there is a command or an update.

    If three streams in a row end without any data, as behind a proxy that buffers, the agent
    uses long polling, and tries a stream again later. If this does not work either, `connect`
    finds the commands.
    """

    def __init__(
        self,
        session: Session,
        *,
        fetch: Callable[[], Awaitable[object]],
        check_update: Callable[[], None],
    ) -> None:
        self.session, self.fetch, self.check_update = session, fetch, check_update
        self.last_event_id = 0
        self._url = ""
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(1.0, 60.0, session.random)

    def start(self, url: str) -> None:
        """Keep a connection to this URL open, unless there is one."""
        if url != self._url:
            self.stop()
        if self._task is None or self._task.done():
            self._url = url
            self._task = asyncio.create_task(self._listen())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _listen(self) -> None:
        silent_streams = 0
        while True:
            outcome, retry = await self._read_stream()
            silent_streams = silent_streams + 1 if outcome == SILENT else 0
            if outcome == HAD_DATA:
                self._backoff.reset()
            if silent_streams >= FAILURES_BEFORE_POLLING:
                await self._poll()
                silent_streams = FAILURES_BEFORE_POLLING - 1
            jittered = retry * self.session.random.uniform(0.5, 1.5)
            await asyncio.sleep(jittered or self._backoff.pause())

    async def _read_stream(self) -> tuple[str, float]:
        """Read events until the connection ends.

        Returns:
            `HAD_DATA`, `SILENT` or `REFUSED`, and the seconds that the server wants to wait, or 0.
        """
        outcome, retry = SILENT, 0.0
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last_seen())}
        try:
            async with self.session.http.stream(
                "stream", self._url, token=self.session.state.token, headers=headers
            ) as stream:
                if stream.status != 200:
                    text = stream.headers.get("retry-after", "")
                    return REFUSED, float(text) if text.isdecimal() else 0.0
                self.session.http.listening(1)
                try:
                    event = ""
                    async for line in stream.lines():
                        outcome = HAD_DATA
                        event, retry = await self._read_line(line, event, retry)
                finally:
                    self.session.http.listening(-1)
        except ConnectionLost:
            pass
        except INVALID_RESPONSE:
            self.session.http.observe("invalid response", NO_RESPONSE, 0)
        return outcome, retry

    async def _read_line(self, line: str, event: str, retry: float) -> tuple[str, float]:
        """Handle a line of a stream (HTML, Server-sent events). Return event type and retry."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "retry" if value.isdecimal():
                retry = int(value) / 1000
            case "id" if value.isdecimal():
                self.last_event_id = int(value)
            case "event":
                event = value
            case "data" if event == "update":
                self.check_update()
            case "data":
                await self.fetch()
        return ("" if not line else event), retry

    async def _poll(self) -> None:
        """Use long polling for a while."""
        clock = asyncio.get_running_loop().time
        for _ in range(POLLS_BEFORE_STREAM):
            started, after = clock(), self._last_seen()
            response = await self.session.call("long poll", "GET", f"{self._url}?after={after}")
            if response.status != 200 or not isinstance(response.body, dict):
                if response.status == NO_RESPONSE:
                    await asyncio.sleep(self._backoff.pause())
                return
            if response.body.get("sequence", 0) > after:
                self.last_event_id = int(response.body["sequence"])
                await self.fetch()
            elif response.body.get("update_waiting"):
                self.check_update()
                await asyncio.sleep(self._backoff.pause())
            elif clock() - started < LONG_POLL_MINIMUM:
                return

    def _last_seen(self) -> int:
        return max(self.last_event_id, self.session.state.last_sequence)
