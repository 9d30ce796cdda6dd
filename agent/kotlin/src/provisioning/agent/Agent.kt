package provisioning.agent

import java.io.File
import java.io.IOException
import java.security.KeyPair
import java.time.Instant
import java.util.Random
import provisioning.client.models.CertificateWithChain
import provisioning.client.models.Connected
import provisioning.client.models.MyConfiguration
import provisioning.client.models.NextSteps
import provisioning.client.models.Registered
import provisioning.client.models.Sequence

/**
 * A device that registers, connects every minute, and does what the server says is next.
 *
 * Call [recover] once, then [step] again and again. [listen] waits for commands in a thread of its own.
 */
class Agent(
    url: String,
    folder: File,
    private val key: KeyPair,
    private val device: Device,
    private val enrollmentToken: String,
    private val clock: () -> Double = { System.currentTimeMillis() / 1000.0 },
    private val sampleInterval: Double = 300.0,
    private val random: Random = Random()
) {
    private val session = Session(Http(url), Store(File(folder, "state.json")), clock)
    private val spool = Spool(File(folder, "samples.jsonl"))
    private val updates = Updates(session, device, File(folder, "updates")) { applyConfiguration() }
    private val commands = Commands(session, device) { isUpdateDue = true }
    private val state: State get() = session.state
    private var measuredAt = -sampleInterval
    private var failures = 0
    @Volatile private var isUpdateDue = false
    private var isQuarantined = false
    @Volatile private var stream: String? = null

    /** Finish what was under way when the app ended. */
    fun recover() {
        commands.recover()
        updates.recover()
    }

    /** Register if necessary, connect, and do what is next. Return the seconds to the next step. */
    fun step(): Double = try {
        doStep()
    } catch (error: InvalidResponse) {
        failurePause()
    } catch (error: IOException) { // the disk is full
        failurePause()
    }

    private fun doStep(): Double {
        measure()
        if (state.token.isEmpty() && !register()) return failurePause()
        val interval = connect() ?: return failurePause()
        failures = 0
        if (isQuarantined) return interval // in quarantine, only connects are accepted
        session.flush()
        sendSamples()
        if (isUpdateDue) {
            isUpdateDue = false
            if (updates.check()) connect()
        }
        return interval * (0.9 + 0.2 * random.nextDouble())
    }

    /** Wait for commands by long polling, until the thread is interrupted. */
    fun listen() {
        var seen = 0
        while (!Thread.interrupted()) {
            seen = try {
                waitForNews(Math.max(seen, state.lastSequence))
            } catch (error: InvalidResponse) {
                pause(10)
                seen
            } catch (error: IOException) {
                pause(10)
                seen
            }
        }
    }

    /** Wait for a command after [seen]. Return the sequence number of the last one. */
    private fun waitForNews(seen: Int): Int {
        val address = stream
        if (address == null || state.token.isEmpty()) {
            pause(1)
            return seen
        }
        val response = session.call("GET", "$address?after=$seen", timeoutSeconds = 60)
        if (response.status != 200) {
            pause(5 + random.nextInt(10).toLong())
            return seen
        }
        val news = response.body<Sequence>()
        if (news.updateWaiting) isUpdateDue = true
        if (news.sequence > seen) commands.fetch() else pause(1)
        return news.sequence
    }

    private fun register(): Boolean {
        val body = mapOf(
            "serial_number" to device.serialNumber,
            "model" to device.model,
            "os_version" to device.osVersion,
            "app_version" to device.appVersion(state.installedVersion),
            "signature_algorithms" to listOf("ES256"),
            "csr" to csr(key, device.serialNumber))
        val response = session.http.request("POST", "/devices/auto-register", enrollmentToken, gson.toJson(body))
        if (!response.isSuccess) return false
        val registered = response.body<Registered>()
        val id = registered.device.id.toString()
        if (id != state.deviceId) session.store.reset(id)
        state.token = registered.token
        registered.certificate?.let { keep(it.certificate, it.chain, it.serialNumber) }
        session.store.save()
        return true
    }

    /** Connect, and do the next steps. Return the seconds to the next connect; null without a response. */
    private fun connect(): Double? {
        val facts = mapOf(
            "app_version" to device.appVersion(state.installedVersion),
            "os_version" to device.osVersion,
            "boot_id" to device.bootId())
        val response = session.call("POST", "/devices/connect", facts.filterValues { it.isNotEmpty() })
        if (response.status != 200) return null
        val connected = response.body<Connected>()
        session.clockOffset = Instant.parse(connected.serverTime).toEpochMilli() / 1000.0 - clock()
        isQuarantined = connected.quarantined
        stream = if (connected.quarantined) null else connected.nextSteps.commandStream
        if (!connected.quarantined) follow(connected.nextSteps)
        return connected.nextConnectIn.toDouble()
    }

    private fun follow(steps: NextSteps) {
        val version = steps.configurationVersion
        if (version != null && (version != state.configurationVersion || steps.configurationWaiting)) applyConfiguration()
        if (steps.commandsWaiting > 0) commands.fetch()
        if (steps.updateWaiting) isUpdateDue = true
        val serialNumber = steps.certificateSerialNumber
        if (steps.certificateRenewalDue || serialNumber == null) {
            val body = mapOf("csr" to csr(key, device.serialNumber))
            keepIssued(session.call("POST", "/devices/me/certificate", body))
        } else if (serialNumber != state.certificateSerialNumber) {
            keepIssued(session.call("GET", "/devices/me/certificate"))
        }
    }

    private fun applyConfiguration() {
        val known = mapOf("If-None-Match" to "\"${state.configurationVersion}\"")
        val response = session.call("GET", "/devices/me/configuration", headers = known)
        if (response.status == 304) { // the report of this version did not arrive
            report(mapOf("version" to state.configurationVersion, "outcome" to "applied"))
            return
        }
        if (response.status != 200) return
        val wanted = response.body<MyConfiguration>()
        @Suppress("UNCHECKED_CAST")
        val configuration = wanted.configuration as Map<String, Any>
        val outcome = device.applyConfiguration(wanted.version, configuration)
        state.configurationVersion = wanted.version
        state.updateKeys = updateKeys(configuration["update_keys"])
        val report = if (outcome.ok) mapOf("version" to wanted.version, "outcome" to "applied") else mapOf(
            "version" to wanted.version, "outcome" to "failed",
            "reason" to outcome.reason, "failed_keys" to outcome.failedKeys)
        report(report)
    }

    private fun report(body: Map<String, Any>) {
        session.put("/devices/me/configuration/reported", body)
        session.store.save()
        session.flush()
    }

    private fun updateKeys(value: Any?): List<Map<String, String>> = (value as? List<*>)?.mapNotNull { key ->
        (key as? Map<*, *>)?.map { it.key.toString() to it.value.toString() }?.toMap()
    } ?: emptyList()

    private fun keepIssued(response: Response) {
        if (!response.isSuccess) return
        val issued = response.body<CertificateWithChain>()
        keep(issued.certificate, issued.chain, issued.serialNumber)
        session.store.save()
        session.flush()
    }

    /** Keep a certificate, and acknowledge it. Until then the server keeps the former one valid. */
    private fun keep(certificate: String, chain: String, serialNumber: String) {
        if (state.chain.isEmpty()) state.commandKeysUntil = 0.0 // from now on, a CA must have endorsed them
        state.certificate = certificate
        state.chain = chain
        state.certificateSerialNumber = serialNumber
        session.put("/devices/me/certificate/acknowledge", mapOf("serial_number" to serialNumber))
    }

    private fun measure() {
        val now = clock()
        if (now - measuredAt in 0.0..sampleInterval) return
        measuredAt = now
        val time = Instant.ofEpochMilli((session.serverTime() * 1000).toLong()).toString()
        spool.add(mapOf<String, Any>("recorded_at" to time) + device.measure())
    }

    private fun sendSamples() {
        while (true) {
            val samples = spool.oldest()
            if (samples.isEmpty()) return
            val sentAt = Instant.ofEpochMilli((session.serverTime() * 1000).toLong()).toString()
            val response = session.call("POST", "/devices/metrics", mapOf("sent_at" to sentAt, "samples" to samples))
            if (!response.isFinal) return
            spool.removeOldest()
        }
    }

    private fun failurePause(): Double {
        failures = (failures + 1).coerceAtMost(5)
        return (2.5 * (1 shl failures)).coerceAtMost(60.0) * (0.5 + random.nextDouble())
    }
}
