import java.util.UUID
import provisioning.client.apis.ConnectionApi
import provisioning.client.apis.DeviceCertificateApi
import provisioning.client.apis.DeviceCommandsApi
import provisioning.client.apis.DeviceConfigurationApi
import provisioning.client.apis.DeviceUpdatesApi
import provisioning.client.apis.DevicesApi
import provisioning.client.apis.EnrollmentApi
import provisioning.client.apis.RemoteControlApi
import provisioning.client.infrastructure.ApiClient
import provisioning.client.infrastructure.ClientError
import provisioning.client.infrastructure.ClientException
import provisioning.client.infrastructure.Serializer
import provisioning.client.models.AnswerRequest
import provisioning.client.models.AutoRegistrationRequest
import provisioning.client.models.CommandAnswerEnum
import provisioning.client.models.CommandRequest
import provisioning.client.models.CommandTypeEnum
import provisioning.client.models.ConnectRequest
import provisioning.client.models.ErrorResponse
import provisioning.client.models.FeedbackRequest
import provisioning.client.models.OutcomeEnum
import provisioning.client.models.ReportRequest
import provisioning.client.models.Sample
import provisioning.client.models.SampleBatch
import provisioning.client.models.UpdateFeedbackEnum

fun env(name: String): String = System.getenv(name)

fun main(arguments: Array<String>) {
    if (arguments[0] == "register") register() else call()
}

fun register() {
    ApiClient.accessToken = env("ENROLLMENT_TOKEN")
    val body = AutoRegistrationRequest(serialNumber = env("SERIAL_NUMBER"), model = "Model A", csr = env("CSR"))
    val registered = EnrollmentApi(env("BASE_URL")).registerDevice(body)
    check(registered.certificate!!.certificate.startsWith("-----BEGIN CERTIFICATE"))
    println("${registered.device.id} ${registered.token}")
}

fun call() {
    val base = env("BASE_URL")
    val device = UUID.fromString(env("DEVICE_ID"))
    ApiClient.accessToken = env("DEVICE_TOKEN")
    check(ConnectionApi(base).connect(ConnectRequest(appVersion = "1.0")).deviceId == device)
    val samples = listOf(Sample(cpuUsage = java.math.BigDecimal(12.5)), Sample(cpuUsage = java.math.BigDecimal(13)))
    check(ConnectionApi(base).sendMetrics(SampleBatch(samples.take(1))).stored == 1)
    val configuration = DeviceConfigurationApi(base).getMyConfiguration()
    check(configuration.configuration["volume"] == 5.0)
    DeviceConfigurationApi(base).reportMyConfiguration(ReportRequest(configuration.version, OutcomeEnum.APPLIED))
    ApiClient.accessToken = env("MEMBER_TOKEN")
    val sent = RemoteControlApi(base).sendCommand(device, CommandRequest(CommandTypeEnum.REBOOT))
    ApiClient.accessToken = env("DEVICE_TOKEN")
    val commands = DeviceCommandsApi(base).getMyCommands(0).results
    check(commands.last().id == sent.id)
    DeviceCommandsApi(base).answerMyCommand(sent.id, AnswerRequest(CommandAnswerEnum.SUCCEEDED))
    DeviceUpdatesApi(base).sendUpdateFeedback(
        UUID.fromString(env("ROLLOUT_ID")), FeedbackRequest(UpdateFeedbackEnum.DOWNLOADING, progress = 50))
    val mine = DeviceCertificateApi(base).getMyCertificate()
    check(mine.deviceId == device)
    ApiClient.accessToken = env("MEMBER_TOKEN")
    val page = DevicesApi(base).listDevices(model = "Model A", pageSize = 1)
    val cursor = page.next!!.query.split("&").first { it.startsWith("cursor=") }.substring(7)
    val second = DevicesApi(base).listDevices(model = "Model A", pageSize = 1,
        cursor = java.net.URLDecoder.decode(cursor, "UTF-8"))
    check(second.results.single().id != page.results.single().id)
    try {
        DevicesApi(base).getDevice(UUID.randomUUID())
        throw IllegalStateException("no error")
    } catch (error: ClientException) {
        check(error.statusCode == 404)
        val body = (error.response as ClientError<*>).body as String
        val errors = Serializer.gson.fromJson(body, ErrorResponse::class.java).errors
        check(errors.single().code == "device_not_found") { body }
    }
    println("done")
}
