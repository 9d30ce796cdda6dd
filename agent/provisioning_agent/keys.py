"""The private key of a device, in a file or in a PKCS #11 token, and its CSR."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import NameOID

from provisioning_agent.files import write_atomically


class KeyUnavailable(Exception):
    """The key cannot be read, or the token cannot be used."""


class DeviceKey(Protocol):
    """A private key that signs CSRs."""

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key. It is created at the first use. Raises KeyUnavailable."""

    def replace(self) -> None:
        """Create a new key, because the server refuses this one. Raises KeyUnavailable."""


class MemoryKey:
    """A given key, for simulations and tests."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return self._key

    def replace(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())


class FileKey:
    """A P-256 key in a PEM file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(self.path.read_bytes(), password=None)
        except FileNotFoundError:
            return self._create()
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"{self.path}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyUnavailable(f"{self.path} contains no elliptic curve key.")
        return key

    def replace(self) -> None:
        self._create()

    def _create(self) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(self.path, pem)
        return key


class Pkcs11Key:
    """A P-256 key in a PKCS #11 token, such as a smart card, a secure element or a TPM.

    It needs the package `python-pkcs11`.

    Args:
        module: path of the token's library; for a TPM `libtpm2_pkcs11.so.1`.
        token: label of the token.
        label: label of the key pair in the token.
        pin: the user PIN.
    """

    def __init__(self, *, module: str, token: str, label: str, pin: str) -> None:
        self.module, self.token, self.label, self.pin = module, token, label, pin
        self._loaded: _TokenKey | None = None
        self._session: Any = None

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def replace(self) -> None:
        self._loaded = self._load(replace=True)

    def _load(self, *, replace: bool = False) -> "_TokenKey":
        try:
            import pkcs11
        except ImportError as error:
            raise KeyUnavailable("The package python-pkcs11 is not installed.") from error
        try:
            if self._session is None:  # a token has one session for a user
                token = pkcs11.lib(self.module).get_token(token_label=self.token)
                self._session = token.open(rw=True, user_pin=self.pin)
            return _TokenKey(self._key_pair(self._session, replace=replace), self._forget)
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise KeyUnavailable(f"The token {self.token}: {reason}") from error

    def _forget(self) -> None:
        """Open the token again at the next use, because it was removed."""
        self._loaded = self._session = None

    def _key_pair(self, session: Any, *, replace: bool) -> tuple[Any, Any]:
        """Return the private and the public key. They are created at the first use."""
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        kinds = (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY)
        try:
            private, public = (
                session.get_key(object_class=kind, label=self.label) for kind in kinds
            )
            if not replace:
                return private, public
        except (pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned):
            pass
        # Half of a pair is left if the process was killed while it replaced the key.
        for kind in kinds:
            search = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.LABEL: self.label}
            for item in list(session.get_objects(search)):
                item.destroy()
        curve = encode_named_curve_parameters("secp256r1")
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
        )
        public, private = parameters.generate_keypair(store=True, label=self.label)
        return private, public


class _TokenKey(ec.EllipticCurvePrivateKey):
    """A key in a token, with the interface of an ordinary key."""

    def __init__(self, pair: tuple[Any, Any], forget: Callable[[], None]) -> None:
        from pkcs11.util.ec import encode_ec_public_key

        self._forget = forget
        self._private, public = pair
        loaded = load_der_public_key(encode_ec_public_key(public))
        assert isinstance(loaded, ec.EllipticCurvePublicKey)
        self._public = loaded

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        """Sign with ECDSA and SHA-256. The token returns r and s concatenated.

        Raises:
            KeyUnavailable: the token was removed. It is opened again at the next use.
        """
        import pkcs11

        digest = hashes.Hash(hashes.SHA256())
        digest.update(bytes(data))
        try:
            raw = self._private.sign(digest.finalize(), mechanism=pkcs11.Mechanism.ECDSA)
        except pkcs11.PKCS11Error as error:
            self._forget()
            raise KeyUnavailable(str(error) or type(error).__name__) from error
        half = len(raw) // 2
        r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
        return encode_dss_signature(r, s)

    def exchange(self, algorithm: Any, peer_public_key: Any) -> NoReturn:
        raise TypeError("This key signs only.")

    def private_numbers(self) -> NoReturn:
        raise TypeError("The key does not leave its token.")

    def private_bytes(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("The key does not leave its token.")

    def __copy__(self) -> "_TokenKey":
        return self

    def __deepcopy__(self, memo: Any) -> "_TokenKey":
        return self


def csr_pem(key: DeviceKey, *, common_name: str) -> str:
    """Return a CSR (RFC 2986) in PEM. The server ignores the names in it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64] or "device")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(key.private_key(), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()
