"""Actions on the certificates of many devices."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from certificates.models import DeviceCertificate
from devices.bulk.actions import BulkAction, Done, Outcome
from devices.registry.models import Device


def actions() -> Sequence[BulkAction]:
    """Return the actions of this package."""
    return (RenewCertificates(),)


class RenewCertificates(BulkAction):
    """Request the renewal of the certificates in use. `renewals.claim_due` renews them."""

    name = "renew_certificates"
    label = "Renew certificates"
    explanation = (
        "The certificates in use are renewed within the next minutes, at the rate of the server."
        " Devices fetch their new certificates when they connect."
    )

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        ids = [device.pk for device in devices]
        in_use = DeviceCertificate.objects.active().filter(device__in=ids, not_after__gt=now)
        rows = in_use.filter(handover_until__isnull=True).values_list("device_id", "pk")
        certificates = dict(rows)
        DeviceCertificate.objects.filter(pk__in=certificates.values()).update(
            renewal_requested_at=now
        )
        return [
            Done(pk, Outcome.DONE, "The renewal was requested.")
            if pk in certificates
            else Done(pk, Outcome.REFUSED, "The device has no certificate that can be renewed now.")
            for pk in ids
        ]
