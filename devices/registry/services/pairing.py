"""A box without any credential shows a code; a member who sees it lets the box in.

The OAuth 2.0 device authorization grant (RFC 8628), with a device's token in the place
of an access token.
"""

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from core.encryption import keyed_digests
from core.limits import Limit, LimitsUnknown
from devices.registry.device_report import Box
from devices.registry.errors import (
    AccessDenied,
    AuthorizationPending,
    ExpiredToken,
    IdentifiersDisagree,
    NoSuchCode,
    PairingDecided,
    SlowDown,
    TooManyPairings,
)
from devices.registry.events import PairingApproved
from devices.registry.models import Device, Pairing
from devices.registry.queries import devices_known_by
from devices.registry.services import registration
from devices.registry.services.registration import Registration
from devices.registry.services.tags import tags_of
from events.services.outbox import record
from tenants import tokens
from tenants.context import (
    callers_network,
    current_caller,
    current_tenant_id,
    tenant_scope,
)

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628 §6.1)
LETTERS = 8  # 34 bits; guesses are limited per member and per address
LIFETIME = timedelta(minutes=10)
INTERVAL = 5  # s
SLOWER = 5  # s; what `slow_down` adds (RFC 8628 §3.5)
MOST_WAITING = 20  # of one address; more would poll over its limit
MOST_LOOKS = 20  # at one code, by members
PURPOSE = "pairing code"
PREFIX = "pai_"

BY_MEMBER = Limit("pairing_member", fails_open=False)
BY_ADDRESS = Limit("pairing_address", fails_open=False)


@dataclass(frozen=True, slots=True)
class Started:
    """What the box gets; both codes are kept as digests only."""

    device_code: str
    user_code: str  # as it is shown: WDJB-MJHT
    expires_in: int  # s
    interval: int  # s


def start(*, box: Box, now: datetime) -> Started:
    """Give a box its two codes.

    Raises:
        InvalidIdentifier, NothingIdentifies: see `Box.identifiers`.
        TooManyPairings: so many of this address are waiting already.
    """
    box.identifiers()
    address = current_caller().address
    waiting = Pairing.objects.waiting(now).filter(address=address)
    if waiting[:MOST_WAITING].count() >= MOST_WAITING:
        raise TooManyPairings("Too many boxes of this address wait for a member.")
    device_code = tokens.make(PREFIX)
    while True:
        user_code = "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))
        try:
            with transaction.atomic():
                _forget_expired(user_code, now)
                Pairing.objects.create(
                    device_code_digest=tokens.digest(device_code),
                    user_code_digest=keyed_digests(user_code, purpose=PURPOSE)[0],
                    box=asdict(box),
                    address=address,
                    requested_at=now,
                    expires_at=now + LIFETIME,
                    interval=INTERVAL,
                )
        except IntegrityError:
            continue  # another box shows the same code now
        return Started(
            device_code, shown(user_code), int(LIFETIME.total_seconds()), INTERVAL
        )


def find(user_code: str, *, now: datetime) -> Pairing:
    """The box that shows this code, for a member to look at.

    Raises:
        NoSuchCode: no box shows it, or not any more.
        TooManyPairings: this member, or this address, has typed too many codes, or this
            code was looked at too often.
    """
    _count_a_look()
    letters = normalized(user_code)
    digests = keyed_digests(letters, purpose=PURPOSE)
    waiting = Pairing.objects.waiting(now).filter(user_code_digest__in=digests)
    pairing: Pairing | None = waiting.first()
    if pairing is None:
        raise NoSuchCode(
            "No box shows this code now. Codes are good for ten minutes; the box can"
            " show another one."
        )
    looked = Pairing.objects.filter(pk=pairing.pk, looks__lt=MOST_LOOKS)
    if not looked.update(looks=F("looks") + 1):
        raise TooManyPairings("This code was looked at too often.")
    return pairing


@transaction.atomic
def approve(
    *, pairing_id: UUID, name: str = "", tags: Iterable[str] = (), now: datetime
) -> Device:
    """Let the box into the current tenant; it fetches its token by itself.

    A box that the tenant knows already becomes its own device again.

    Raises:
        PairingDecided: somebody was quicker, or its time is over.
        IdentifiersDisagree: its identifiers are those of several devices.
        InvalidTag: see `set_tags`.
    """
    pairing = _hold_waiting(pairing_id, now)
    box = box_of(pairing)
    identifiers = box.identifiers()
    known = devices_known_by(identifiers)
    if len(known) > 1:
        raise IdentifiersDisagree(Device.objects.filter(pk__in=known))
    if known:
        device = registration.living_device(known[0])
        tags = {*tags_of(device), *tags}
        registration.update(device=device, name=name or None, tags=tags, now=now)
    else:
        named = Box(**{**asdict(box), "name": name or box.name})
        device = registration.register(box=named, tags=tags, now=now)
    pairing.status = Pairing.Status.APPROVED
    pairing.tenant_id, pairing.device_id = current_tenant_id(), device.pk
    pairing.decided_at, pairing.expires_at = now, now + LIFETIME
    pairing.save()
    fact = PairingApproved(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=now,
        identifiers=[f"{item.kind}:{item.value}" for item in identifiers],
        box_address=pairing.address,
    )
    record([fact])
    return device


@transaction.atomic
def deny(*, pairing_id: UUID, now: datetime) -> None:
    """Turn the box away.

    Raises:
        PairingDecided: somebody was quicker, or its time is over.
    """
    pairing = _hold_waiting(pairing_id, now)
    pairing.status, pairing.decided_at = Pairing.Status.DENIED, now
    pairing.save()


def poll(*, device_code: str, now: datetime) -> Registration:
    """The box asks for its token, and gets it once.

    Raises:
        AuthorizationPending: nobody has decided yet.
        SlowDown: it asked sooner than the interval allows.
        AccessDenied: a member turned it away.
        ExpiredToken: its time is over, its token was fetched, or there is no such code.
    """
    outcome = _poll(device_code, now)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def drop_outlived(*, now: datetime) -> int:
    """Forget the pairings that were over a day ago; return how many."""
    dropped: int = Pairing.objects.outlived(now - timedelta(days=1)).delete()[0]
    return dropped


def shown(user_code: str) -> str:
    """As people read it off a screen: two groups of four."""
    return f"{user_code[:4]}-{user_code[4:]}"


def normalized(user_code: str) -> str:
    """As it was made, however it was typed (RFC 8628 §6.1)."""
    return "".join(letter for letter in user_code.upper() if letter in ALPHABET)


def box_of(pairing: Pairing) -> Box:
    said: dict[str, Any] = dict(pairing.box)
    return Box(**{**said, "mac_addresses": tuple(said["mac_addresses"])})


@transaction.atomic
def _poll(device_code: str, now: datetime) -> Registration | Exception:
    held = Pairing.objects.select_for_update()
    digest = tokens.digest(device_code)
    pairing: Pairing | None = held.filter(device_code_digest=digest).first()
    if pairing is None or not tokens.matches(device_code, pairing.device_code_digest):
        return ExpiredToken("There is no such device code.")
    early = pairing.polled_at is not None and now < pairing.polled_at + timedelta(
        seconds=pairing.interval
    )
    pairing.polled_at = now
    outcome = _outcome(pairing, now, early=early)
    pairing.save()
    return outcome


def _outcome(
    pairing: Pairing, now: datetime, *, early: bool
) -> Registration | Exception:
    if pairing.status == Pairing.Status.COMPLETED:
        return ExpiredToken("The token was fetched already.")
    if pairing.expires_at <= now:
        return ExpiredToken("The code has expired; ask for another one.")
    if pairing.status == Pairing.Status.DENIED:
        return AccessDenied("A member has turned this box away.")
    if early:
        pairing.interval += SLOWER
        return SlowDown(f"Ask every {pairing.interval} seconds at most.")
    if pairing.status == Pairing.Status.PENDING:
        return AuthorizationPending("No member has let this box in yet.")
    pairing.status = Pairing.Status.COMPLETED
    with tenant_scope(pairing.tenant_id):
        known = devices_known_by(box_of(pairing).identifiers())
        if known != [pairing.device_id]:
            return AccessDenied("The device was retired or changed meanwhile.")
        return registration.auto_register(box=box_of(pairing), now=now)


def _hold_waiting(pairing_id: UUID, now: datetime) -> Pairing:
    held = Pairing.objects.select_for_update()
    pairing: Pairing | None = held.filter(pk=pairing_id).first()
    if pairing is None or pairing.expires_at <= now:
        raise PairingDecided("The code has expired; the box can show another one.")
    if pairing.status != Pairing.Status.PENDING:
        raise PairingDecided("Somebody has decided about this box already.")
    return pairing


def _forget_expired(user_code: str, now: datetime) -> None:
    """A code whose time is over may be shown again, by another box."""
    digest = keyed_digests(user_code, purpose=PURPOSE)[0]
    over = Pairing.objects.filter(user_code_digest=digest, expires_at__lte=now)
    over.filter(status=Pairing.Status.PENDING).delete()


def _count_a_look() -> None:
    try:
        wait = BY_MEMBER.spend(current_caller().id) or BY_ADDRESS.spend(
            callers_network()
        )
    except LimitsUnknown as error:
        raise TooManyPairings(
            "Codes cannot be checked now; try in a minute."
        ) from error
    if wait is not None:
        raise TooManyPairings("Too many codes; try again in a few minutes.")
