"""A private key that the server made leaves it once, to its own device."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from certificates.errors import AuthorityUnavailable, NoKeyToDeliver
from certificates.events import PrivateKeyDelivered, about
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
from devices.registry.queries import hold
from events.services.outbox import record


@dataclass(frozen=True, slots=True)
class Bundle:
    """Key, certificate and chain in one piece."""

    content: bytes
    certificate: DeviceCertificate


def deliver(
    *,
    device: Device,
    form: Form,
    passphrase: str,
    store: CertificateStore,
    now: datetime,
) -> Bundle:
    """Hand out the key of the certificate in use, with both; then it is here no more.

    An answer that is lost on its way is made good by a new certificate for a new key:
    a key that may have been read by somebody is not handed out twice.

    Raises:
        NoSuchCertificate: the device has none in use.
        NoKeyToDeliver: the device has made its key itself, or has got it already.
    """
    with transaction.atomic():
        held = hold(device.pk)
        row = certificate_in_use(held)
        key = _key(row, store)
        row.key_delivered_at = now
        row.save(update_fields=["key_delivered_at"])
        record([PrivateKeyDelivered(**about(row, held, now), form=form)])
    remove_delivered_key(row, store)  # left by a crash, beat removes it
    return Bundle(_written(row, key, form, passphrase), row)


def _key(row: DeviceCertificate, store: CertificateStore) -> DevicePrivateKey:
    if row.key_source != DeviceCertificate.KeySource.SERVER:
        raise NoKeyToDeliver("The device has made this key itself.")
    if row.key_delivered_at is not None:
        raise NoKeyToDeliver("The key was delivered already: ask for a new one.")
    try:
        pem = read_secret(store.key_of(row.device_id))
        if pem is None:
            raise NoKeyToDeliver("The key is not here: ask for a new one.")
        key = key_encryption.open_key(pem, made_here=True)
    except InsecureFile as error:
        raise NoKeyToDeliver("The key is not safe: ask for a new one.") from error
    except PkiError as error:
        raise AuthorityUnavailable(f"The key cannot be opened: {error}.") from error
    if keys.public_digest(key.public_key()) != row.public_key_digest:
        raise NoKeyToDeliver("The key is not the certificate's: ask for a new one.")
    return key


def _written(
    row: DeviceCertificate, key: DevicePrivateKey, form: Form, passphrase: str
) -> bytes:
    certificate = row.signed_certificate()
    chain = authorities.chain_certificates(row.authority_key_id)
    if form == "pem":
        return bundles.pem(key, certificate, chain, passphrase)
    return bundles.pkcs_12(key, certificate, chain, passphrase, f"{row.device_id}")
