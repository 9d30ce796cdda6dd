package provisioning.agent

import java.io.File

/** A device without hardware, for the tests. It notes in a file what it has executed. */
class NotedDevice(private val folder: File, override val serialNumber: String) : Device {
    override val model = "Box"
    override val osVersion = "9"

    override fun appVersion(installed: String): String = if (installed.isEmpty()) "1.0.0" else installed

    override fun bootId(): String = try {
        // Such files have the length 0, so `readText` of a file reads nothing.
        File("/proc/sys/kernel/random/boot_id").inputStream().bufferedReader().use { it.readText().trim() }
    } catch (error: java.io.IOException) {
        ""
    }

    override fun applyConfiguration(version: String, configuration: Map<String, Any>): Outcome = Outcome()

    override fun execute(type: String, parameters: Map<String, Any>): Outcome = note(type)

    override fun screenshot(maxWidth: Int?): ByteArray? = null

    override fun install(file: File?, version: String): Outcome = note("install $version ${file?.length()}")

    override fun measure(): Map<String, Any> = mapOf("cpu_usage" to 12.5)

    private fun note(line: String): Outcome {
        File(folder, "executed").appendText(line + "\n")
        return Outcome()
    }
}

/** Run an agent: URL, folder of the state, serial number, enrollment token, number of steps, seconds between them. */
fun main(arguments: Array<String>) {
    val (url, path, serialNumber, token, steps) = arguments
    val folder = File(path).also { it.mkdirs() }
    val key = fileKey(File(folder, "key.der"), File(folder, "public.der"))
    val agent = Agent(url, folder, key, NotedDevice(folder, serialNumber), token, sampleInterval = 1.0)
    agent.recover()
    repeat(steps.toInt()) {
        agent.step()
        Thread.sleep((arguments[5].toDouble() * 1000).toLong())
    }
    println("done")
}
