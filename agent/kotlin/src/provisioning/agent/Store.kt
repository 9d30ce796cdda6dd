package provisioning.agent

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.RandomAccessFile

/** The accepted command that is not finished. */
class PendingCommand(val id: String, val type: String, val bootId: String)

/** The update whose installation has begun. */
class PendingUpdate(val rollout: String, val attempt: Int, val version: String)

/** A message that must arrive. */
class Message(val path: String, val body: Any)

/** What a device remembers across restarts. It is saved before the device acts on it. */
class State {
    var deviceId = ""
    var token = ""
    var certificate = ""
    var chain = ""
    var certificateSerialNumber = ""
    var lastSequence = 0
    var commandKeys: List<Map<String, String>> = emptyList()
    var commandKeysUntil = 0.0
    var configurationVersion = ""
    var updateKeys: List<Map<String, String>> = emptyList()
    var command: PendingCommand? = null
    var update: PendingUpdate? = null
    var finishedAttempt = ""
    var installedVersion = ""
    var outbox: MutableList<Message> = mutableListOf()
}

/** Replace a file. A crash or a loss of power leaves its old or its new content. */
fun writeAtomically(file: File, content: ByteArray) {
    val temporary = File(file.path + ".new")
    FileOutputStream(temporary).use {
        it.write(content)
        it.fd.sync()
    }
    if (!temporary.renameTo(file)) throw IOException("${file.path} cannot be replaced.")
}

/** The state in a file of the app's private folder. */
class Store(private val file: File) {
    var state: State = read()
        private set

    /** Threads change the state and save it while they hold this object's lock. */
    @Synchronized
    fun save() = writeAtomically(file, gson.toJson(state).toByteArray())

    /** Start with the state of a new record at the server. */
    fun reset(deviceId: String) {
        state = State().also {
            it.deviceId = deviceId
            it.installedVersion = state.installedVersion
        }
    }

    private fun read(): State = try {
        gson.fromJson(file.readText(), State::class.java) ?: State()
    } catch (error: IOException) {
        State()
    } catch (error: com.google.gson.JsonParseException) {
        file.renameTo(File(file.path + ".damaged"))
        State()
    }
}

/** Samples in a file until the server has stored them. A line that a loss of power has cut is dropped. */
class Spool(private val file: File) {
    private var linesRead = 0

    fun add(sample: Map<String, Any>) {
        if (file.length() > MAX_BYTES) keep(file.readLines().takeLast(MAX_KEPT))
        RandomAccessFile(file, "rw").use {
            it.seek(it.length())
            // The first line break ends a line that a loss of power has cut.
            it.write(("\n" + gson.toJson(sample) + "\n").toByteArray())
            it.fd.sync()
        }
    }

    /** Return the oldest samples, at most [MAX_SAMPLES]. */
    fun oldest(): List<Map<*, *>> {
        val lines = if (file.exists()) file.readLines().take(2 * MAX_SAMPLES) else emptyList()
        linesRead = lines.size
        val samples = lines.mapNotNull { sampleOf(it) }
        if (samples.isEmpty() && lines.isNotEmpty()) removeOldest()
        return samples
    }

    /** Remove the lines that [oldest] has read. */
    fun removeOldest() {
        keep(file.readLines().drop(linesRead))
    }

    private fun keep(lines: List<String>) =
        writeAtomically(file, lines.filter { it.isNotEmpty() }.joinToString("") { it + "\n" }.toByteArray())

    private fun sampleOf(line: String): Map<*, *>? = try {
        gson.fromJson(line, Map::class.java)
    } catch (error: com.google.gson.JsonParseException) {
        null
    }

    companion object {
        const val MAX_SAMPLES = 500 // of a request; half of the lines can be empty
        const val MAX_KEPT = 20_000 // lines of a file that is too long
        const val MAX_BYTES = 10_000_000
    }
}
