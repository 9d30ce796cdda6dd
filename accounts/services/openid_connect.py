"""The protocol of a sign-in with OpenID Connect: authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0 §3.1 (code flow, validation of the ID token), Discovery 1.0 §4,
RFC 7636 (PKCE) and RFC 9700. Signatures are verified by `joserfc`. The provider's addresses are
entered by tenants, so requests to them go through `outbound_http`.
"""

import base64
import hashlib
import ipaddress
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from accounts.errors import ProviderFault
from events.services import outbound_http
from events.services.outbound_http import Unreachable

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
LEEWAY = timedelta(minutes=1)  # between the clocks of the provider and of this server
VALIDITY = timedelta(minutes=10)  # of a sign-in that was begun
MAX_DOCUMENT = 200_000  # bytes of an answer of the provider
SECONDS = 4.0  # for each request; a sign-in makes at most four, in a thread of the server
DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Client:
    """How this server is known to a provider."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Pending:
    """What a browser's session keeps between the two halves of a sign-in."""

    state: str
    nonce: str
    verifier: str
    begun_at: float  # seconds since 1970

    @classmethod
    def new(cls, now: datetime) -> Self:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, now.timestamp())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_for(self, state: str, now: datetime) -> bool:
        """Return whether an answer with this state belongs to this sign-in, and is in time."""
        is_same = secrets.compare_digest(self.state.encode(), state.encode())
        age = timedelta(seconds=now.timestamp() - self.begun_at)
        return is_same and timedelta() <= age + LEEWAY and age <= VALIDITY


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must contain."""

    issuer: str
    client_id: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider has authenticated. `email` is empty if the provider names none."""

    subject: str
    email: str
    name: str


def authorization_url(client: Client, pending: Pending) -> str:
    """Return the address to which the browser goes to sign in.

    Raises:
        ProviderFault: the provider cannot be reached, or does not describe itself.
    """
    challenge = hashlib.sha256(pending.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "scope": "openid email profile",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": pending.state,
        "nonce": pending.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    endpoint = _endpoint(discover(client.issuer), "authorization_endpoint")
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def discover(issuer: str) -> dict[str, Any]:
    """Return the description of a provider.

    Raises:
        ProviderFault: it cannot be read, or it describes another issuer.
    """
    check_address(issuer)
    document = _fetch("GET", f"{issuer.rstrip('/')}{DISCOVERY}")
    if str(document.get("issuer") or "").rstrip("/") != issuer.rstrip("/"):
        raise ProviderFault("The provider's description names another issuer.")
    return document


def finish(client: Client, pending: Pending, code: str, *, now: datetime) -> Person:
    """Exchange the code of an answer, and return whom the provider has authenticated.

    Raises:
        ProviderFault: the code or the ID token is not accepted, or the provider cannot be reached.
    """
    provider = discover(client.issuer)
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": pending.verifier,
    }
    pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    endpoint = _endpoint(provider, "token_endpoint")
    answer = _fetch("POST", endpoint, urlencode(body).encode(), headers)
    keys = _fetch("GET", _endpoint(provider, "jwks_uri"))
    expected = Expected(str(provider["issuer"]), client.client_id, pending.nonce)
    claims = _verified(str(answer.get("id_token", "")), keys, expected, now)
    if not claims.get("email") and provider.get("userinfo_endpoint"):
        token = str(answer.get("access_token", ""))
        bearer = {"Authorization": f"Bearer {token}"}
        more = _fetch("GET", _endpoint(provider, "userinfo_endpoint"), headers=bearer)
        if more.get("sub") == claims["sub"]:
            claims = {**more, **claims}
    # A provider that says that it has not verified the address vouches for nothing.
    is_usable = claims.get("email_verified") in (None, True, "true")
    email = str(claims.get("email") or "") if is_usable else ""
    return Person(str(claims["sub"]), email.strip().lower(), str(claims.get("name") or "")[:120])


def check_address(url: str) -> None:
    """Check that an address of a provider can be used.

    Raises:
        ProviderFault: it is no HTTPS address. HTTP is accepted for a loopback address among
            `WEBHOOK_ALLOWED_NETWORKS`, for tests and development.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ProviderFault("This is no address.") from error
    is_plain = not (parts.username or parts.fragment)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_own(parts.hostname))
    if not (is_safe and is_plain and parts.hostname):
        raise ProviderFault("Enter an HTTPS address, such as https://login.example.com.")


def _is_own(host: str | None) -> bool:
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return address.is_loopback and outbound_http.is_allowed(address)


def _endpoint(provider: dict[str, Any], name: str) -> str:
    endpoint = provider.get(name)
    if not isinstance(endpoint, str):
        raise ProviderFault(f"The provider's description has no {name}.")
    check_address(endpoint)
    return endpoint


def _verified(
    token: str, keys: dict[str, Any], expected: Expected, now: datetime
) -> dict[str, Any]:
    """Return the claims of an ID token (OpenID Connect Core §3.1.3.7)."""
    try:
        claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ProviderFault("The provider's ID token has no valid signature.") from error
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    is_ours = expected.client_id in audiences and claims.get("azp") in (None, expected.client_id)
    if claims.get("iss") != expected.issuer or not is_ours:
        raise ProviderFault("The provider's ID token is for another application.")
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or expires + LEEWAY.seconds < now.timestamp():
        raise ProviderFault("The provider's ID token has expired.")
    if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), expected.nonce.encode()):
        raise ProviderFault("The provider's ID token belongs to another sign-in.")
    if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
        raise ProviderFault("The provider's ID token names nobody.")
    return dict(claims)


def _fetch(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    headers = {"Accept": "application/json", **(headers or {})}
    try:
        answer = outbound_http.request(
            method, url, body, headers, most=MAX_DOCUMENT, seconds=SECONDS
        )
        document = json.loads(answer.text)
    except Unreachable as error:
        raise ProviderFault(f"The provider cannot be reached: {error}") from error
    except ValueError as error:
        raise ProviderFault("The provider's answer is not JSON.") from error
    if answer.status != 200 or not isinstance(document, dict):
        fault = document.get("error") if isinstance(document, dict) else None
        raise ProviderFault(f"The provider refused the request ({answer.status} {fault or ''}).")
    return document
