"""The base class of the views of the hawkBit API."""

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import NotAcceptable, Throttled
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from certificates.api.authentication import ClientCertificateAuthentication
from core import clock
from core.rest.parsers import DeviceJSONParser
from devices.hawkbit.api.authentication import GatewayTokenAuthentication, TargetTokenAuthentication
from devices.hawkbit.errors import ControllerNotFound
from devices.hawkbit.models import GatewayToken, HawkbitSettings
from devices.hawkbit.services import controllers
from devices.hawkbit.services.settings import current_settings
from devices.registry.errors import DeviceIsQuarantined
from devices.registry.models import Device
from tenants.api.permissions import TenantIsBound
from tenants.api.throttles import BY_TOKEN
from tenants.context import bind_caller


class HalRenderer(JSONRenderer):
    """JSON under the media type that hawkBit's clients ask for."""

    media_type = "application/hal+json"
    format = "hal"


class ControllerNegotiation(DefaultContentNegotiation):
    """Answer with the media type that the device asks for, and with JSON if that is unknown."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> tuple[BaseRenderer, str]:
        renderers = list(renderers)
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            return renderers[0], str(renderers[0].media_type)


class IsController(BasePermission):
    """Allow devices and gateways, and nobody else that can authenticate."""

    def has_permission(self, request: Request, view: object) -> bool:
        if not TenantIsBound().has_permission(request, view):
            return False
        return isinstance(request.user, Device | GatewayToken)


class ControllerView(APIView):
    """Base class: finds the tenant and the device that the path names.

    Attributes:
        device: with its next steps.
        tenant_settings: of the tenant.
        serves_quarantined: whether devices in quarantine are answered.
        registers_unknown: whether a gateway may register an unknown device.

    A tenant that has not switched the API on, another tenant and another device are all answered
    with 404, so that nothing is learnt about them.
    """

    authentication_classes = (
        TargetTokenAuthentication,
        GatewayTokenAuthentication,
        ClientCertificateAuthentication,
    )
    permission_classes = (IsController,)
    parser_classes = (DeviceJSONParser,)
    renderer_classes = (JSONRenderer, HalRenderer)
    content_negotiation_class = ControllerNegotiation
    schema = None  # hawkBit documents this API

    device: Device
    tenant_settings: HawkbitSettings
    serves_quarantined = False
    registers_unknown = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.tenant_settings = row = current_settings()
        if not row.is_enabled or row.tenant.slug != kwargs["tenant"].lower():
            raise ControllerNotFound
        self.device = self._find_device(request, kwargs["controller_id"])
        if self.device.quarantined_at is not None and not self.serves_quarantined:
            raise DeviceIsQuarantined

    def _find_device(self, request: Request, controller_id: str) -> Device:
        if isinstance(request.user, Device):
            if not controllers.is_controller_id(controller_id, request.user):
                raise ControllerNotFound
            return request.user
        gateway = request.user
        device = controllers.find_device(controller_id)
        may_register = isinstance(gateway, GatewayToken) and gateway.registers_devices
        if device is None and may_register and self.registers_unknown:
            device = controllers.register(controller_id, now=clock.now())
        if device is None:
            raise ControllerNotFound
        if wait := BY_TOKEN["device"].spend(str(device.pk), 1):
            raise Throttled(wait)
        # What the gateway does is done by the device.
        bind_caller("device", id=device.pk, name=device.name)
        return device
