import os
import sys
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import provisioning_client as api
from provisioning_client.exceptions import NotFoundException


def client(token: str) -> api.ApiClient:
    host, access_token = os.environ["BASE_URL"], os.environ[token]
    return api.ApiClient(api.Configuration(host=host, access_token=access_token))


def register() -> None:
    body = api.AutoRegistrationRequest(
        serial_number=os.environ["SERIAL_NUMBER"], model="Model A", csr=os.environ["CSR"]
    )
    registered = api.EnrollmentApi(client("ENROLLMENT_TOKEN")).register_device(body)
    assert registered.certificate is not None
    assert registered.certificate.certificate.startswith("-----BEGIN CERTIFICATE")
    print(registered.device.id, registered.token)


def call() -> None:
    device_id, device, member = UUID(os.environ["DEVICE_ID"]), client("DEVICE_TOKEN"), client("MEMBER_TOKEN")
    connection = api.ConnectionApi(device)
    assert connection.connect(api.ConnectRequest(app_version="1.0")).device_id == device_id
    batch = api.SampleBatch(samples=[api.Sample(cpu_usage=12.5)])
    assert connection.send_metrics(batch).stored == 1
    configurations = api.DeviceConfigurationApi(device)
    configuration = configurations.get_my_configuration()
    assert configuration.configuration["volume"] == 5
    configurations.report_my_configuration(
        api.ReportRequest(version=configuration.version, outcome=api.OutcomeEnum.APPLIED)
    )
    command = api.CommandRequest(type=api.CommandTypeEnum.REBOOT)
    sent = api.RemoteControlApi(member).send_command(device_id, command)
    commands = api.DeviceCommandsApi(device)
    assert commands.get_my_commands(after=0).results[-1].id == sent.id
    commands.answer_my_command(sent.id, api.AnswerRequest(status=api.CommandAnswerEnum.SUCCEEDED))
    api.DeviceUpdatesApi(device).send_update_feedback(
        UUID(os.environ["ROLLOUT_ID"]),
        api.FeedbackRequest(status=api.UpdateFeedbackEnum.DOWNLOADING, progress=50),
    )
    assert api.DeviceCertificateApi(device).get_my_certificate().device_id == device_id
    devices = api.DevicesApi(member)
    page = devices.list_devices(model="Model A", page_size=1)
    assert page.next is not None
    cursor = parse_qs(urlsplit(page.next).query)["cursor"][0]
    second = devices.list_devices(model="Model A", page_size=1, cursor=cursor)
    assert second.results[0].id != page.results[0].id
    try:
        devices.get_device(uuid4())
    except NotFoundException as error:
        assert error.data is not None
        assert error.data.errors[0].code == "device_not_found"
    else:
        raise AssertionError
    print("done")


register() if sys.argv[1] == "register" else call()
