import java.math.BigDecimal;
import java.net.URI;
import java.net.URLDecoder;
import java.util.List;
import java.util.UUID;
import provisioning.client.ApiClient;
import provisioning.client.ApiException;
import provisioning.client.api.ConnectionApi;
import provisioning.client.api.DeviceCertificateApi;
import provisioning.client.api.DeviceCommandsApi;
import provisioning.client.api.DeviceConfigurationApi;
import provisioning.client.api.DeviceUpdatesApi;
import provisioning.client.api.DevicesApi;
import provisioning.client.api.EnrollmentApi;
import provisioning.client.api.RemoteControlApi;
import provisioning.client.model.*;

public class TwelveCalls {
    static String env(String name) {
        return System.getenv(name);
    }

    static void check(boolean condition) {
        if (!condition) {
            throw new IllegalStateException();
        }
    }

    static ApiClient client(String token) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(env("BASE_URL"));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + env(token)));
        return client;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("register")) {
            register();
        } else {
            call();
        }
    }

    static void register() throws Exception {
        Registered registered = new EnrollmentApi(client("ENROLLMENT_TOKEN")).registerDevice(
            new AutoRegistrationRequest().serialNumber(env("SERIAL_NUMBER")).model("Model A").csr(env("CSR")));
        check(registered.getCertificate().getCertificate().startsWith("-----BEGIN CERTIFICATE"));
        System.out.println(registered.getDevice().getId() + " " + registered.getToken());
    }

    static void call() throws Exception {
        UUID id = UUID.fromString(env("DEVICE_ID"));
        ApiClient device = client("DEVICE_TOKEN");
        ApiClient member = client("MEMBER_TOKEN");
        ConnectionApi connection = new ConnectionApi(device);
        check(connection.connect(new ConnectRequest().appVersion("1.0")).getDeviceId().equals(id));
        SampleBatch batch = new SampleBatch().samples(List.of(new Sample().cpuUsage(new BigDecimal("12.5"))));
        check(connection.sendMetrics(batch).getStored() == 1);
        DeviceConfigurationApi configurations = new DeviceConfigurationApi(device);
        MyConfiguration configuration = configurations.getMyConfiguration(null);
        check(configuration.getConfiguration().get("volume").equals(5));
        configurations.reportMyConfiguration(
            new ReportRequest().version(configuration.getVersion()).outcome(OutcomeEnum.APPLIED));
        Command sent = new RemoteControlApi(member).sendCommand(id, new CommandRequest().type(CommandTypeEnum.REBOOT));
        DeviceCommandsApi commands = new DeviceCommandsApi(device);
        List<MyCommand> unseen = commands.getMyCommands(0, null).getResults();
        check(unseen.get(unseen.size() - 1).getId().equals(sent.getId()));
        commands.answerMyCommand(sent.getId(), new AnswerRequest().status(CommandAnswerEnum.SUCCEEDED));
        new DeviceUpdatesApi(device).sendUpdateFeedback(UUID.fromString(env("ROLLOUT_ID")),
            new FeedbackRequest().status(UpdateFeedbackEnum.DOWNLOADING).progress(50));
        check(new DeviceCertificateApi(device).getMyCertificate().getDeviceId().equals(id));
        PaginatedDeviceList page = devices(member, null);
        PaginatedDeviceList second = devices(member, cursor(page.getNext()));
        check(!second.getResults().get(0).getId().equals(page.getResults().get(0).getId()));
        try {
            new DevicesApi(member).getDevice(UUID.randomUUID());
            throw new IllegalStateException("no error");
        } catch (ApiException error) {
            check(error.getCode() == 404);
            ErrorResponse body = ApiClient.createDefaultObjectMapper()
                .readValue(error.getResponseBody(), ErrorResponse.class);
            check(body.getErrors().get(0).getCode().equals("device_not_found"));
        }
        System.out.println("done");
    }

    static PaginatedDeviceList devices(ApiClient member, String cursor) throws ApiException {
        return new DevicesApi(member).listDevices(
            null, null, null, cursor, null, null, null, "Model A", null, null, null, null, 1, null, null,
            null, null, null);
    }

    static String cursor(URI link) throws Exception {
        for (String part : link.getRawQuery().split("&")) {
            if (part.startsWith("cursor=")) {
                return URLDecoder.decode(part.substring(7), "UTF-8");
            }
        }
        throw new IllegalStateException(link.toString());
    }
}
