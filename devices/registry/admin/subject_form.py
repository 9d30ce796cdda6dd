"""Base of portal forms that select a site, a tag or a device."""

from typing import Any
from uuid import UUID

from devices.registry.errors import InvalidSubject
from devices.registry.models import Device, Tag
from devices.registry.services.sites import find_site
from tenants.admin.forms import ServiceForm


class SubjectForm(ServiceForm):
    """Base of forms that select a site or tag by name, or a device by id or name.

    A form has the fields `site_name`, `tag_name` and `device_id`.
    """

    def subject(self) -> dict[str, Any]:
        """Return the selected `site`, `tag` and `device`. An empty field gives None.

        Raises:
            InvalidSubject: the tag or device does not exist, or several devices have the entered name.
            InvalidSite: the site does not exist.
        """
        site_name = self.cleaned_data["site_name"]
        tag_name = self.cleaned_data["tag_name"]
        device_text = self.cleaned_data["device_id"]
        tag = Tag.objects.filter(name=tag_name).first() if tag_name else None
        if tag_name and tag is None:
            raise InvalidSubject("There is no such tag.", field="tag_name")
        device = self._device(device_text.strip()) if device_text else None
        site = find_site(site_name, field="site_name") if site_name else None
        return {"site": site, "tag": tag, "device": device}

    def _device(self, id_or_name: str) -> Device:
        try:
            queryset = Device.objects.not_retired().filter(pk=UUID(id_or_name))
        except ValueError:
            queryset = Device.objects.not_retired().filter(name=id_or_name)
        devices = list(queryset[:2])
        if len(devices) != 1:
            raise InvalidSubject(
                "No device, or more than one device, has this name."
                " Enter the ID from the device's page.",
                field="device_id",
            )
        return devices[0]
