"""One-time delivery of a server-generated private key to its device."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from certificates.errors import AuthorityUnavailable, NoKeyToDeliver
from certificates.events import PrivateKeyDelivered, event_fields
from certificates.models import DeviceCertificate
from certificates.pki import bundles, keys
from certificates.pki.bundles import Form
from certificates.pki.errors import PkiError
from certificates.pki.keys import DevicePrivateKey
from certificates.services import authorities, key_encryption
from certificates.services.certificate_management import certificate_in_use
from certificates.services.file_store import CertificateStore, InsecureFile, read_secret
from certificates.services.key_removal import remove_delivered_key
from devices.registry.models import Device
from devices.registry.queries import lock_device
from events.services.outbox import record


@dataclass(frozen=True, slots=True)
class Bundle:
    """A private key with its certificate and chain, serialised."""

    content: bytes
    certificate: DeviceCertificate


def deliver(
    *, device: Device, form: Form, passphrase: str, store: CertificateStore, now: datetime
) -> Bundle:
    """Return the key of the device's certificate in use, with the certificate and chain.

    The key is then deleted from the server. If the response is lost, the device must
    request a new certificate with a new key. A key that somebody may have read is not
    delivered twice.

    Args:
        form: `pem` or `pkcs12`.
        passphrase: encrypts the key; empty leaves a PEM key unencrypted.

    Raises:
        NoSuchCertificate: the device has no certificate in use.
        NoKeyToDeliver: the device generated the key itself, or the key was delivered
            before or is not usable.
        DeviceIsRetired: the device is retired.
        AuthorityUnavailable: the key cannot be decrypted.
    """
    with transaction.atomic():
        locked_device = lock_device(device.pk)
        row = certificate_in_use(locked_device)
        key = _load_key(row, store)
        row.key_delivered_at = now
        row.save(update_fields=["key_delivered_at"])
        fields = event_fields(row, locked_device, now)
        record([PrivateKeyDelivered(**fields, form=form)])
    # After a crash here, `repair_certificates` removes the key.
    remove_delivered_key(row, store)
    return Bundle(_serialise(row, key, form, passphrase), row)


def _load_key(row: DeviceCertificate, store: CertificateStore) -> DevicePrivateKey:
    if row.key_source != DeviceCertificate.KeySource.SERVER:
        raise NoKeyToDeliver("The device generated this key itself.")
    if row.key_delivered_at is not None:
        raise NoKeyToDeliver("The key was already delivered. Request a new certificate.")
    try:
        pem = read_secret(store.key_of(row.device_id))
        if pem is None:
            raise NoKeyToDeliver("The key is missing. Request a new certificate.")
        key = key_encryption.decrypt_key(pem, made_here=True)
    except InsecureFile as error:
        raise NoKeyToDeliver("The key file is not secure. Request a new certificate.") from error
    except PkiError as error:
        raise AuthorityUnavailable(f"The key cannot be read: {error}.") from error
    if keys.public_digest(key.public_key()) != row.public_key_digest:
        raise NoKeyToDeliver("The key does not match the certificate. Request a new certificate.")
    return key


def _serialise(row: DeviceCertificate, key: DevicePrivateKey, form: Form, passphrase: str) -> bytes:
    certificate = row.signed_certificate()
    chain = authorities.chain_certificates(row.authority_key_id)
    if form == "pem":
        return bundles.pem(key, certificate, chain, passphrase)
    return bundles.pkcs_12(key, certificate, chain, passphrase, f"{row.device_id}")
