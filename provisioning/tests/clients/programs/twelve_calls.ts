import * as api from "./client";

declare const process: { env: Record<string, string | undefined>; argv: string[] };

function env(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(name);
  return value;
}

function check(condition: boolean): void {
  if (!condition) throw new Error("check failed");
}

function configuration(token: string): api.Configuration {
  return new api.Configuration({ basePath: env("BASE_URL"), accessToken: env(token) });
}

async function register(): Promise<void> {
  const registered = await new api.EnrollmentApi(configuration("ENROLLMENT_TOKEN")).registerDevice({
    autoRegistrationRequest: { serialNumber: env("SERIAL_NUMBER"), model: "Model A", csr: env("CSR") },
  });
  check(registered.certificate?.certificate.startsWith("-----BEGIN CERTIFICATE") ?? false);
  console.log(`${registered.device.id} ${registered.token}`);
}

async function call(): Promise<void> {
  const deviceId = env("DEVICE_ID");
  const device = configuration("DEVICE_TOKEN");
  const member = configuration("MEMBER_TOKEN");
  const connection = new api.ConnectionApi(device);
  check((await connection.connect({ connectRequest: { appVersion: "1.0" } })).deviceId === deviceId);
  check((await connection.sendMetrics({ sampleBatch: { samples: [{ cpuUsage: 12.5 }] } })).stored === 1);
  const configurations = new api.DeviceConfigurationApi(device);
  const mine = await configurations.getMyConfiguration();
  check(mine._configuration["volume"] === 5);
  await configurations.reportMyConfiguration({
    reportRequest: { version: mine.version, outcome: api.OutcomeEnum.Applied },
  });
  const sent = await new api.RemoteControlApi(member).sendCommand({
    deviceId, commandRequest: { type: api.CommandTypeEnum.Reboot },
  });
  const commands = new api.DeviceCommandsApi(device);
  const unseen = (await commands.getMyCommands({ after: 0 })).results;
  check(unseen[unseen.length - 1]?.id === sent.id);
  await commands.answerMyCommand({
    commandId: sent.id, answerRequest: { status: api.CommandAnswerEnum.Succeeded },
  });
  await new api.DeviceUpdatesApi(device).sendUpdateFeedback({
    rolloutId: env("ROLLOUT_ID"),
    feedbackRequest: { status: api.UpdateFeedbackEnum.Downloading, progress: 50 },
  });
  check((await new api.DeviceCertificateApi(device).getMyCertificate()).deviceId === deviceId);
  const devices = new api.DevicesApi(member);
  const page = await devices.listDevices({ model: "Model A", pageSize: 1 });
  const cursor = new URL(page.next ?? "").searchParams.get("cursor") ?? "";
  const second = await devices.listDevices({ model: "Model A", pageSize: 1, cursor });
  check(second.results[0]?.id !== page.results[0]?.id);
  try {
    await devices.getDevice({ deviceId: "00000000-0000-4000-8000-000000000000" });
    check(false);
  } catch (error) {
    if (!(error instanceof api.ResponseError)) throw error;
    check(error.response.status === 404);
    const body = api.ErrorResponseFromJSON(await error.response.json());
    check(body.errors[0]?.code === "device_not_found");
  }
  console.log("done");
}

void (process.argv[2] === "register" ? register() : call());
