"""Give a device's own layer to the device that replaces it."""

from datetime import datetime

from devices.configurations.models import Scope
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.registry.models import Device


def copy_layer(failed: Device, by: Device, now: datetime) -> None:
    """Save the layer of the failed device as the next version of the new device's layer."""
    layer = layers.layer_of(Subject(Scope.DEVICE, device=failed))
    if layer is not None and layer.document:
        subject = Subject(Scope.DEVICE, device=by)
        note = f"From {failed.name}, which this device replaces"[: layers.MAX_NOTE_LENGTH]
        layers.save(subject=subject, document=layer.document, note=note, now=now)
