"""Simulated devices that try the rules of clone detection without a database."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from devices.registry.clones import (
    SHORT_CONNECTION,
    Kind,
    Observation,
    evidence_of_clone,
    is_counter_jump,
)
from devices.simulation.identities import MINUTE, cloned_pairs, honest_devices, run

START = datetime(2026, 11, 1, tzinfo=UTC)
WINDOW = timedelta(hours=1)


@dataclass
class Account:
    """What the server knows of one identity."""

    token: int = 0
    is_used: bool = False
    replaced: set[str] = field(default_factory=set)
    boot_id: str = ""
    number: int | None = None
    opened_at: datetime | None = None
    observations: list[Observation] = field(default_factory=list)
    quarantined_at: datetime | None = None


class RulesOnly:
    """A server that keeps its records in memory."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = defaultdict(Account)

    def register(self, identity: str, key: str, now: datetime) -> str:
        account = self.accounts[identity]
        account.replaced.add(f"{identity}/{account.token}")
        account.token, account.is_used = account.token + 1, False
        if key:
            self._observe(account, Observation(Kind.KEY, now, key))
        return f"{identity}/{account.token}"

    def connect(
        self, token: str, now: datetime, *, boot_id: str | None, report_number: int | None
    ) -> bool:
        identity, number = token.split("/")
        account = self.accounts[identity]
        if int(number) != account.token:
            if account.is_used and token in account.replaced:
                self._observe(account, Observation(Kind.TOKEN, now, token))
            return False
        account.is_used = True
        if boot_id and account.boot_id and boot_id != account.boot_id:
            self._observe(account, Observation(Kind.BOOT, now, boot_id, account.boot_id))
        if report_number is not None and is_counter_jump(account.number, report_number):
            jump = Observation(Kind.COUNTER, now, str(report_number), str(account.number))
            self._observe(account, jump)
        account.boot_id = boot_id or account.boot_id
        account.number = report_number
        return True

    def open_connection(self, identity: str, now: datetime) -> None:
        account = self.accounts[identity]
        opened_at, account.opened_at = account.opened_at, now
        if opened_at is not None and now - opened_at < SHORT_CONNECTION and not account.boot_id:
            self._observe(account, Observation(Kind.REPLACEMENT, now))

    def close_connection(self, identity: str) -> None:
        self.accounts[identity].opened_at = None

    def quarantined(self) -> dict[str, datetime]:
        return {
            identity: account.quarantined_at
            for identity, account in self.accounts.items()
            if account.quarantined_at is not None
        }

    def _observe(self, account: Account, new: Observation) -> None:
        recent = [item for item in account.observations if item.at > new.at - WINDOW]
        account.observations = [*recent, new]
        if account.quarantined_at is None and evidence_of_clone(account.observations):
            account.quarantined_at = new.at


def test_no_honest_device_on_two_lines_is_quarantined_within_a_week() -> None:
    server = RulesOnly()

    run(honest_devices(1000, interval=30 * MINUTE), server, START, timedelta(days=7))

    assert len(server.accounts) == 1000
    assert server.quarantined() == {}


def test_every_clone_is_found_within_an_hour_of_both_being_active() -> None:
    server = RulesOnly()
    pairs = cloned_pairs(20)
    for original, copy in pairs[10:]:  # the disk was copied with its token
        token = server.register(original.identity, original.key, START)
        original.store(token)
        copy.store(token)

    start = START + timedelta(hours=2)
    run([device for pair in pairs for device in pair], server, start, WINDOW)

    assert set(server.quarantined()) == {original.identity for original, _ in pairs}
