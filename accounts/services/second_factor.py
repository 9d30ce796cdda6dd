"""A person's second factor: time-based one-time passwords (RFC 6238), and codes for
the day on which the telephone is gone."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.db import transaction

from accounts.errors import FactorNotYours, TooManyCodes, WrongCode
from accounts.events import (
    PersonEvent,
    RecoveryCodeUsed,
    SecondFactorAdded,
    SecondFactorRemoved,
)
from core.encryption import decrypt, encrypt
from core.limits import Limit, LimitsUnknown
from events.services.outbox import record
from tenants import tokens
from tenants.context import every_tenant_scope
from tenants.models import Membership, SecondFactor, User

PURPOSE = "second factor"
STEP = 30  # s
ISSUER = "provisioning"
RECOVERY_CODES = 10
PENDING_FOR = timedelta(minutes=10)
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

ATTEMPTS = Limit("second_factor", fails_open=False)


@dataclass(frozen=True, slots=True)
class Setup:
    """What the person's telephone has to know."""

    secret: str  # base32
    uri: str  # otpauth://…, for a QR code


def begin(user: User, *, now: datetime) -> Setup:
    """A secret for the person's telephone; it counts once a code of it was entered.

    For some minutes it stays the same, so that a page may be loaded twice; not for
    longer, so that nobody keeps one that the person takes into use one day.

    Raises:
        FactorNotYours: there is one in use.
    """
    row, _ = SecondFactor.objects.get_or_create(
        user=user,
        defaults={"secret": _new_secret(), "made_at": now},
    )
    if row.confirmed_at is not None:
        raise FactorNotYours("There is a second factor already.")
    if row.made_at <= now - PENDING_FOR:
        row.secret, row.made_at = _new_secret(), now
        row.save(update_fields=["secret", "made_at"])
    totp = _totp(row)
    uri = totp.get_provisioning_uri(user.email, ISSUER)
    return Setup(secret=uri.split("secret=")[1].split("&")[0], uri=uri)


def confirm(user: User, code: str, *, now: datetime) -> list[str]:
    """Take the second factor into use; return the recovery codes, which are not kept.

    Raises:
        WrongCode, TooManyCodes: see `verify`.
    """
    _count_attempt(user)
    with transaction.atomic():
        row = SecondFactor.objects.select_for_update().get(user=user)
        step = _step_of(row, code, now)
        if step is None:
            raise WrongCode("The code is not right.", field="code")
        codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
        row.confirmed_at, row.last_step = now, step
        row.recovery_digests = [tokens.digest(code) for code in codes]
        row.save()
        _record(SecondFactorAdded, user, now)
    return codes


def verify(user: User, code: str, *, now: datetime) -> None:
    """Accept a code of the telephone, or one of the recovery codes, each once.

    Raises:
        WrongCode: it is none, or was used already.
        TooManyCodes: this person has tried too often.
    """
    _count_attempt(user)
    with transaction.atomic():
        row = SecondFactor.objects.select_for_update().get(user=user)
        plain = code.replace(" ", "").replace("-", "").upper()
        step = _step_of(row, plain, now)
        if step is not None:
            row.last_step = step
        elif (digest := tokens.digest(plain)) in row.recovery_digests:
            row.recovery_digests.remove(digest)
            _record(RecoveryCodeUsed, user, now)
        else:
            raise WrongCode("The code is not right.", field="code")
        row.save()


@transaction.atomic
def remove(user: User, *, now: datetime) -> bool:
    """Forget a person's second factor; say whether there was one."""
    removed, _ = SecondFactor.objects.filter(user=user).delete()
    if removed:
        _record(SecondFactorRemoved, user, now)
    return bool(removed)


def remove_for(membership: Membership, *, now: datetime) -> bool:
    """The same by an admin of the person's one tenant.

    Raises:
        FactorNotYours: the person is in other tenants too, or a superuser.
    """
    user = membership.user
    elsewhere = Membership.every_tenant.filter(user=user).exclude(pk=membership.pk)
    with every_tenant_scope():  # else the wall hides the very tenants it is about
        protects_others = user.is_superuser or elsewhere.exists()
    if protects_others:
        raise FactorNotYours(
            "It protects other tenants as well; the installation's operator removes it."
        )
    return remove(user, now=now)


def reencrypt() -> dict[str, int]:
    """Encrypt every secret with the present key, one row at a time; return how many.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
    """
    count = 0
    for pk in list(SecondFactor.objects.values_list("pk", flat=True)):
        with transaction.atomic():
            row = SecondFactor.objects.select_for_update().filter(pk=pk).first()
            if row is not None:
                plain = decrypt(row.secret, purpose=PURPOSE)
                row.secret = encrypt(plain, purpose=PURPOSE)
                row.save(update_fields=["secret"])
                count += 1
    return {"second_factors": count}


def is_in_use(user: User) -> bool:
    return mark(user) is not None


def mark(user: User) -> str | None:
    """Which factor is in use: a session that has shown another one has shown nothing."""
    confirmed = SecondFactor.objects.filter(user=user, confirmed_at__isnull=False)
    confirmed_at = confirmed.values_list("confirmed_at", flat=True).first()
    return None if confirmed_at is None else confirmed_at.isoformat()


def _count_attempt(user: User) -> None:
    try:
        wait = ATTEMPTS.spend(str(user.pk))
    except LimitsUnknown as error:
        raise TooManyCodes("Codes cannot be checked now; try in a minute.") from error
    if wait is not None:
        raise TooManyCodes("Too many codes; try again in a few minutes.", field="code")


def _step_of(row: SecondFactor, code: str, now: datetime) -> int | None:
    """The time step to which the code belongs, if it is a later one than the last.

    A telephone's clock may be one step off.
    """
    totp, present = _totp(row), int(now.timestamp()) // STEP
    for step in (present, present - 1, present + 1):
        right = totp.generate(step * STEP).decode()
        if secrets.compare_digest(right.encode(), code.encode()):
            return step if step > row.last_step else None
    return None


def _totp(row: SecondFactor) -> TOTP:
    key = bytes.fromhex(decrypt(row.secret, purpose=PURPOSE))
    return TOTP(key, 6, SHA1(), STEP)  # what every authenticator app speaks


def _new_secret() -> str:
    return encrypt(secrets.token_bytes(20).hex(), purpose=PURPOSE)


def _new_recovery_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(12))


def _record(kind: type[PersonEvent], user: User, now: datetime) -> None:
    record([kind(tenant_id=None, at=now, email=user.email)])
