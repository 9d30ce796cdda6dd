import os
import sys
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from provisioning_client import AuthenticatedClient, models
from provisioning_client.api.connection import connect, send_metrics
from provisioning_client.api.device_certificate import get_my_certificate
from provisioning_client.api.device_commands import answer_my_command, get_my_commands
from provisioning_client.api.device_configuration import (
    get_my_configuration,
    report_my_configuration,
)
from provisioning_client.api.device_updates import send_update_feedback
from provisioning_client.api.devices import get_device, list_devices
from provisioning_client.api.enrollment import register_device
from provisioning_client.api.remote_control import send_command


def client(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=os.environ["BASE_URL"], token=os.environ[token])


def register() -> None:
    body = models.AutoRegistrationRequest(
        serial_number=os.environ["SERIAL_NUMBER"], model="Model A", csr=os.environ["CSR"]
    )
    registered = register_device.sync(client=client("ENROLLMENT_TOKEN"), body=body)
    assert isinstance(registered, models.Registered)
    assert registered.certificate is not None
    assert registered.certificate.certificate.startswith("-----BEGIN CERTIFICATE")
    print(registered.device.id, registered.token)


def call() -> None:
    device_id, device, member = UUID(os.environ["DEVICE_ID"]), client("DEVICE_TOKEN"), client("MEMBER_TOKEN")
    connected = connect.sync(client=device, body=models.ConnectRequest(app_version="1.0"))
    assert isinstance(connected, models.Connected)
    assert connected.device_id == device_id
    batch = models.SampleBatch(samples=[models.Sample(cpu_usage=12.5)])
    stored = send_metrics.sync(client=device, body=batch)
    assert isinstance(stored, models.Stored)
    assert stored.stored == 1
    configuration = get_my_configuration.sync(client=device)
    assert isinstance(configuration, models.MyConfiguration)
    assert configuration.configuration["volume"] == 5
    report = models.ReportRequest(version=configuration.version, outcome=models.OutcomeEnum.APPLIED)
    assert report_my_configuration.sync_detailed(client=device, body=report).status_code == 204
    command = models.CommandRequest(type_=models.CommandTypeEnum.REBOOT)
    sent = send_command.sync(device_id, client=member, body=command)
    assert isinstance(sent, models.Command)
    commands = get_my_commands.sync(client=device, after=0)
    assert isinstance(commands, models.MyCommands)
    assert commands.results[-1].id == sent.id
    answer = models.AnswerRequest(status=models.CommandAnswerEnum.SUCCEEDED)
    assert answer_my_command.sync_detailed(sent.id, client=device, body=answer).status_code == 204
    feedback = models.FeedbackRequest(status=models.UpdateFeedbackEnum.DOWNLOADING, progress=50)
    rollout = UUID(os.environ["ROLLOUT_ID"])
    assert send_update_feedback.sync_detailed(rollout, client=device, body=feedback).status_code == 204
    certificate = get_my_certificate.sync(client=device)
    assert isinstance(certificate, models.CertificateWithChain)
    assert certificate.device_id == device_id
    page = list_devices.sync(client=member, model="Model A", page_size=1)
    assert isinstance(page, models.PaginatedDeviceList)
    assert isinstance(page.next_, str)
    cursor = parse_qs(urlsplit(page.next_).query)["cursor"][0]
    second = list_devices.sync(client=member, model="Model A", page_size=1, cursor=cursor)
    assert isinstance(second, models.PaginatedDeviceList)
    assert second.results[0].id != page.results[0].id
    missing = get_device.sync(uuid4(), client=member)
    assert isinstance(missing, models.ErrorResponse)
    assert missing.errors[0].code == "device_not_found"
    print("done")


register() if sys.argv[1] == "register" else call()
