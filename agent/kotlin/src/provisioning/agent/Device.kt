package provisioning.agent

import java.io.File

/** How a task of the device ended. [reason] and [errorCode] say why it failed. */
class Outcome(
    val ok: Boolean = true,
    val reason: String = "",
    val errorCode: String = "install_failed",
    val failedKeys: List<String> = emptyList()
)

/** The device: what the app does when the server says so. Each function may block. */
interface Device {
    val serialNumber: String
    val model: String
    val osVersion: String

    /** The version of the app that runs now; [installed] is the last version that was installed. */
    fun appVersion(installed: String): String

    /** The id of this start of the operating system; empty if unknown. */
    fun bootId(): String

    fun applyConfiguration(version: String, configuration: Map<String, Any>): Outcome

    /** Execute a command. A `reboot` may not return. */
    fun execute(type: String, parameters: Map<String, Any>): Outcome

    /** Return an image as PNG, JPEG or WebP; null if this is not possible. */
    fun screenshot(maxWidth: Int?): ByteArray?

    /** Install a file; null means the copy of this version that the device has kept. */
    fun install(file: File?, version: String): Outcome

    /** Return the values of a sample of metrics. */
    fun measure(): Map<String, Any>
}
