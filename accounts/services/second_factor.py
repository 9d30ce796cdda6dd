"""Second factor of users: time-based one-time passwords (RFC 6238) and recovery codes."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.db import transaction

from accounts.errors import SecondFactorRefused, TooManyAttempts, WrongCode
from accounts.events import PersonEvent, RecoveryCodeUsed, SecondFactorAdded, SecondFactorRemoved
from core.encryption import decrypt, encrypt
from core.limits import Limit, LimiterUnavailable
from events.services.outbox import record
from tenants import tokens
from tenants.context import every_tenant_scope
from tenants.models import Membership, SecondFactor, User

PURPOSE = "second factor"
STEP = 30  # seconds
ISSUER = "provisioning"
RECOVERY_CODES = 10
PENDING_FOR = timedelta(minutes=10)  # lifetime of a secret that is not confirmed
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0, 1, I and O, which look alike

WRONG_CODE = "The code is wrong or was used before. Enter the current code."
ATTEMPTS = Limit("second_factor", fails_open=False)


@dataclass(frozen=True, slots=True)
class Setup:
    """The secret with which a user sets up an authenticator app."""

    secret: str  # base32
    uri: str  # otpauth://…, for a QR code


def begin_setup(user: User, *, now: datetime) -> Setup:
    """Return a secret to set up a second factor. `confirm` then activates the factor.

    The secret stays the same for ten minutes, so that the page can be loaded again. After
    ten minutes it is replaced, so that an old secret cannot be activated much later.

    Raises:
        SecondFactorRefused: the user has an active second factor.
    """
    row, _ = SecondFactor.objects.get_or_create(
        user=user, defaults={"secret": _new_secret(), "made_at": now}
    )
    if row.confirmed_at is not None:
        raise SecondFactorRefused("The user already has a second factor.")
    if row.made_at <= now - PENDING_FOR:
        row.secret, row.made_at = _new_secret(), now
        row.save(update_fields=["secret", "made_at"])
    totp = _totp(row)
    uri = totp.get_provisioning_uri(user.email, ISSUER)
    return Setup(secret=uri.split("secret=")[1].split("&")[0], uri=uri)


def confirm(user: User, code: str, *, now: datetime) -> list[str]:
    """Activate the second factor with a first code from the authenticator app.

    Returns:
        The recovery codes. Only their digests are stored.

    Raises:
        WrongCode, TooManyAttempts: see `verify`.
    """
    _count_attempt(user)
    with transaction.atomic():
        row = SecondFactor.objects.select_for_update().get(user=user)
        step = _step_of(row, code, now)
        if step is None:
            raise WrongCode(WRONG_CODE, field="code")
        codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
        row.confirmed_at, row.last_step = now, step
        row.recovery_digests = [tokens.digest(code) for code in codes]
        row.save()
        _record(SecondFactorAdded, user, now)
    return codes


def verify(user: User, code: str, *, now: datetime) -> None:
    """Accept a code from the authenticator app or a recovery code. Each code works once.

    Raises:
        WrongCode: the code is wrong or was used before.
        TooManyAttempts: there were too many attempts, or attempts cannot be counted.
    """
    _count_attempt(user)
    with transaction.atomic():
        row = SecondFactor.objects.select_for_update().get(user=user)
        normalized = code.replace(" ", "").replace("-", "").upper()
        step = _step_of(row, normalized, now)
        if step is not None:
            row.last_step = step
        elif (digest := tokens.digest(normalized)) in row.recovery_digests:
            row.recovery_digests.remove(digest)
            _record(RecoveryCodeUsed, user, now)
        else:
            raise WrongCode(WRONG_CODE, field="code")
        row.save()


@transaction.atomic
def remove(user: User, *, now: datetime) -> bool:
    """Delete a user's second factor. Return whether there was one."""
    removed, _ = SecondFactor.objects.filter(user=user).delete()
    if removed:
        _record(SecondFactorRemoved, user, now)
    return bool(removed)


def remove_for(membership: Membership, *, now: datetime) -> bool:
    """Delete the second factor of a member, on behalf of an admin of the tenant.

    Raises:
        SecondFactorRefused: the user is a superuser or a member of other tenants.
    """
    user = membership.user
    others = Membership.every_tenant.filter(user=user).exclude(pk=membership.pk)
    with every_tenant_scope():  # row-level security would hide the other memberships
        protects_others = user.is_superuser or others.exists()
    if protects_others:
        raise SecondFactorRefused(
            "This second factor also protects other tenants."
            " Only the operator of the installation can remove it."
        )
    return remove(user, now=now)


def reencrypt() -> dict[str, int]:
    """Re-encrypt all secrets with the current key, one row per transaction.

    Returns:
        The number of re-encrypted secrets, as `{"second_factors": count}`.

    Raises:
        DecryptionError: a secret was encrypted with a key that is not among the fallbacks.
    """
    count = 0
    for pk in list(SecondFactor.objects.values_list("pk", flat=True)):
        with transaction.atomic():
            row = SecondFactor.objects.select_for_update().filter(pk=pk).first()
            if row is not None:
                secret = decrypt(row.secret, purpose=PURPOSE)
                row.secret = encrypt(secret, purpose=PURPOSE)
                row.save(update_fields=["secret"])
                count += 1
    return {"second_factors": count}


def is_active(user: User) -> bool:
    """Return whether the user has an active second factor."""
    return active_version(user) is not None


def active_version(user: User) -> str | None:
    """Return an identifier of the user's active second factor, or None.

    A session stores the identifier when a code is verified. A session with another
    identifier was verified with a former second factor and must be verified again.
    """
    confirmed = SecondFactor.objects.filter(user=user, confirmed_at__isnull=False)
    confirmed_at = confirmed.values_list("confirmed_at", flat=True).first()
    return None if confirmed_at is None else confirmed_at.isoformat()


def _count_attempt(user: User) -> None:
    try:
        wait = ATTEMPTS.spend(str(user.pk))
    except LimiterUnavailable as error:
        raise TooManyAttempts(
            "Codes cannot be checked at the moment. Try again in a minute."
        ) from error
    if wait is not None:
        raise TooManyAttempts("Too many attempts. Try again in a few minutes.", field="code")


def _step_of(row: SecondFactor, code: str, now: datetime) -> int | None:
    """Return the time step of a code, or None if the code is wrong or was used before.

    The clock of the phone may differ by one step.
    """
    totp, current = _totp(row), int(now.timestamp()) // STEP
    for step in (current, current - 1, current + 1):
        expected = totp.generate(step * STEP)
        if secrets.compare_digest(expected, code.encode()):
            return step if step > row.last_step else None
    return None


def _totp(row: SecondFactor) -> TOTP:
    key = bytes.fromhex(decrypt(row.secret, purpose=PURPOSE))
    # SHA-1 is the only algorithm of RFC 6238 that every authenticator app supports.
    return TOTP(key, 6, SHA1(), STEP)  # noqa: S303 # what authenticator apps support # nosec B303


def _new_secret() -> str:
    return encrypt(secrets.token_bytes(20).hex(), purpose=PURPOSE)


def _new_recovery_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(12))


def _record(kind: type[PersonEvent], user: User, now: datetime) -> None:
    record([kind(tenant_id=None, at=now, email=user.email)])
