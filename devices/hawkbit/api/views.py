"""The Direct Device Integration API of Eclipse hawkBit (version 1).

https://eclipse.dev/hawkbit/rest-api/ddi/ is the reference. The views translate it to the
services of this server. `docs/hawkbit.md` lists what is left out.
"""

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from core import clock
from devices.hawkbit.api.controller_view import ControllerView
from devices.hawkbit.api.deployment import artifact, artifact_name, deployment_body, link
from devices.hawkbit.errors import ArtifactNotFound
from devices.hawkbit.services import actions, attributes, feedback
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.services.presence import ConnectReport
from devices.updates.api.package_views import package_file_response
from devices.updates.errors import UpdateNotFound
from devices.updates.models import SoftwareUpdate
from devices.updates.services import offers
from tenants.context import current_caller


class BasePollView(ControllerView):
    """Tell a device what to do, and count the poll as a sign of life."""

    serves_quarantined = True
    registers_unknown = True

    def get(self, request: Request, tenant: str, controller_id: str) -> Response:
        now, links = clock.now(), {}
        is_own = isinstance(request.user, Device)  # a gateway has an address of its own
        report = ConnectReport(ip_address=current_caller().address if is_own else None)
        presence.connect(device=self.device, report=report, now=now)
        if self.device.quarantined_at is None:
            links = self._links(request, tenant, controller_id)
        sleep = timedelta(seconds=self.tenant_settings.polling_seconds)
        return Response({"config": {"polling": {"sleep": _clock_text(sleep)}}, "_links": links})

    def _links(self, request: Request, tenant: str, controller_id: str) -> dict[str, Any]:
        links = {}
        path = _path(tenant, controller_id)
        work = actions.current_work(self.device, now=clock.now())
        installed = actions.installed_action(self.device)
        if work.install is not None:
            links["deploymentBase"] = link(request, "deployment", path, action_id=work.install.pk)
        if work.cancel is not None:
            links["cancelAction"] = link(request, "cancel", path, action_id=work.cancel.pk)
        if installed is not None:
            links["installedBase"] = link(request, "installed", path, action_id=installed.pk)
        if attributes.are_wanted(self.device):
            links["configData"] = link(request, "config-data", path)
        return links


class ConfigDataView(ControllerView):
    """Store the attributes of a device."""

    def put(self, request: Request, tenant: str, controller_id: str) -> Response:
        data, mode = request.data.get("data"), request.data.get("mode")
        attributes.store(
            device=self.device,
            data=data if isinstance(data, dict) else {},
            mode=mode if mode in attributes.MODES else "merge",
            now=clock.now(),
        )
        return Response(status=200)


class DeploymentView(ControllerView):
    """Describe the files of an action."""

    def get(self, request: Request, tenant: str, controller_id: str, action_id: int) -> Response:
        action = actions.find_action(self.device, action_id)
        package = actions.package_of(action)
        body = deployment_body(request, action, package, _path(tenant, controller_id))
        return Response(body)


class FeedbackView(ControllerView):
    """Record the report of a device about an action."""

    def post(self, request: Request, tenant: str, controller_id: str, action_id: int) -> Response:
        feedback.record_feedback(
            device=self.device,
            action=actions.find_action(self.device, action_id),
            report=feedback.read_feedback(request.data),
            now=clock.now(),
        )
        return Response(status=200)


class CancelView(ControllerView):
    """Name the action that a device should cancel."""

    def get(self, request: Request, tenant: str, controller_id: str, action_id: int) -> Response:
        action = actions.cancelled_action(self.device, action_id)
        return Response({"id": str(action.pk), "cancelAction": {"stopId": str(action.pk)}})


class CancelFeedbackView(ControllerView):
    """Note that a device knows that its action was cancelled.

    Whatever the device answers ends the action: the update was cancelled already.
    """

    def post(self, request: Request, tenant: str, controller_id: str, action_id: int) -> Response:
        action = actions.open_cancellation(self.device, action_id)
        report = feedback.read_feedback(request.data)
        if report.execution in feedback.ENDS_OF_CANCELLATION:
            actions.close_action(action, now=clock.now())
        return Response(status=200)


class ArtifactsView(ControllerView):
    """List the files of a package that the device may download."""

    def get(self, request: Request, tenant: str, controller_id: str, module_id: str) -> Response:
        package = _offered_package(self, module_id)
        return Response([artifact(request, package, _path(tenant, controller_id))])


class ArtifactView(ControllerView):
    """Download the file of a package, or a range of it."""

    def head(
        self, request: Request, tenant: str, controller_id: str, module_id: str, file_name: str
    ) -> HttpResponse:
        """Answer SWUpdate, which asks before it downloads. This takes no download slot."""
        package = _offered_package(self, module_id)
        if file_name != artifact_name(package):
            raise ArtifactNotFound
        headers = {"Content-Length": str(package.size), "ETag": f'"{package.sha256}"'}
        headers |= {"Accept-Ranges": "bytes"}
        return HttpResponse(content_type="application/octet-stream", headers=headers)

    def get(
        self, request: Request, tenant: str, controller_id: str, module_id: str, file_name: str
    ) -> HttpResponseBase:
        package = _offered_package(self, module_id)
        if file_name != artifact_name(package):
            raise ArtifactNotFound
        try:
            package = offers.claim_download(
                self.device, package.pk, is_admitted=True, now=clock.now()
            )
        except UpdateNotFound as error:
            raise ArtifactNotFound from error
        return package_file_response(request._request, package)


class ArtifactHashView(ControllerView):
    """Return the MD5 of a file as `md5sum` prints it."""

    def get(
        self, request: Request, tenant: str, controller_id: str, module_id: str, file_name: str
    ) -> HttpResponse:
        package = _offered_package(self, module_id)
        if file_name != artifact_name(package):
            raise ArtifactNotFound
        return HttpResponse(f"{package.md5}  {file_name}\n", content_type="text/plain")


class ConfirmationView(ControllerView):
    """Say that updates need no confirmation on the device."""

    def get(self, request: Request, tenant: str, controller_id: str) -> Response:
        return Response({"autoConfirm": {"active": True}})


def _offered_package(view: ControllerView, module_id: str) -> SoftwareUpdate:
    """Return the package that the device is offered now, if it has this id.

    Raises:
        ArtifactNotFound: the device is offered another package, or none.
    """
    found = offers.current_update(view.device, now=clock.now())
    package = found[0].package if found else None
    if package is None or str(package.pk) != module_id.lower():
        raise ArtifactNotFound
    return package


def _path(tenant: str, controller_id: str) -> dict[str, str]:
    return {"tenant": tenant, "controller_id": controller_id}


def _clock_text(interval: timedelta) -> str:
    minutes, seconds = divmod(int(interval.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"
