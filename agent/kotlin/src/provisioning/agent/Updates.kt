package provisioning.agent

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.io.File
import java.io.FileOutputStream
import java.security.MessageDigest
import provisioning.client.models.Offer

/** Install the update that the server offers, and report how it ended. An installation runs once. */
class Updates(
    private val session: Session,
    private val device: Device,
    private val folder: File,
    private val applyConfiguration: () -> Unit
) {
    private val state: State get() = session.state

    /** Report the installation that was under way when the app ended. */
    fun recover() {
        val update = state.update ?: return
        if (device.appVersion(state.installedVersion) == update.version) finish(update, Outcome())
        else finish(update, Outcome(false, "The app was interrupted during the installation.", "interrupted"))
    }

    /** Ask for the update. Return true if a new version was installed. */
    @Synchronized
    fun check(): Boolean {
        val response = session.call("GET", "/devices/me/update")
        if (response.status != 200) return false
        val offer = response.body<Offer>()
        if (offer.notBefore != null || "${offer.rollout} ${offer.attempt}" == state.finishedAttempt) return false
        if (!isOrdered(offer)) return false
        val update = PendingUpdate(offer.rollout.toString(), offer.attempt, offer.version)
        val file = offer.`package`?.let { File(folder, "${it.id}.part") }
        if (file != null) {
            val failure = download(offer, file) ?: return false
            if (!failure.ok) {
                finish(update, failure)
                return false
            }
        }
        if (report(offer, mapOf("status" to "installing")) == 410) return false // the update has ended
        state.update = update
        session.store.save()
        val outcome = device.install(file, offer.version)
        finish(update, outcome)
        file?.delete()
        return outcome.ok
    }

    /** Check the update order and the signature of the package. */
    private fun isOrdered(offer: Offer): Boolean = try {
        val order = claims(offer.order)
        val file = offer.`package`
        val isOrder = order["aud"].asString == state.deviceId && order["exp"].asDouble > session.serverTime()
            && order["rollout"].asString == offer.rollout.toString() && order["attempt"].asInt == offer.attempt
            && order["product"].asString == offer.product && order["version"].asString == offer.version
            && order["rollback"].asBoolean == offer.rollback && textOf(order["sha256"]) == file?.sha256
        isOrder && (file == null || isSigned(claims(file.signature), offer))
    } catch (error: SignatureInvalid) {
        false
    }

    private fun isSigned(claims: JsonObject, offer: Offer): Boolean {
        val file = offer.`package`!!
        return claims["package"].asString == file.id.toString() && claims["product"].asString == offer.product
            && claims["version"].asString == offer.version && claims["sha256"].asString == file.sha256
            && claims["size"].asInt == file.propertySize
    }

    private fun textOf(value: JsonElement): String? = if (value.isJsonNull) null else value.asString

    private fun claims(signed: String): JsonObject = try {
        verifiedClaims(signed, state.updateKeys)
    } catch (error: UnknownKey) {
        applyConfiguration() // the tenant may have a new key
        verifiedClaims(signed, state.updateKeys)
    }

    /** Download the file, and continue after interruptions. Return null if it is not offered any more. */
    private fun download(offer: Offer, file: File): Outcome? {
        val source = offer.`package`!!
        folder.mkdirs()
        folder.listFiles()?.filter { it != file }?.forEach { it.delete() }
        for (attempt in 1..MAX_ATTEMPTS) {
            if (file.length() >= source.propertySize) break
            val progress = 100 * file.length() / source.propertySize
            if (report(offer, mapOf("status" to "downloading", "progress" to progress)) == 410) return null
            val response = FileOutputStream(file, true).use { output ->
                val etag = "\"${source.sha256}\""
                val got = session.http.download(source.url, state.token, file.length(), etag, output) {
                    output.channel.truncate(0)
                }
                output.fd.sync()
                got
            }
            when {
                response.status == 200 || response.status == 206 -> {}
                response.status == 416 -> file.delete()
                response.isTemporary -> pause(response.retryAfter.coerceIn(1, 60))
                else -> return null
            }
        }
        if (file.exists() && sha256(file) == source.sha256) return Outcome()
        file.delete()
        return Outcome(false, "The file could not be downloaded, or its SHA-256 hash is wrong.", "wrong_hash")
    }

    private fun report(offer: Offer, fields: Map<String, Any>): Int {
        val body = fields + mapOf("attempt" to offer.attempt)
        return session.call("POST", "/devices/me/updates/${offer.rollout}/feedback", body).status
    }

    /** Note the end of an attempt together with its report. */
    private fun finish(update: PendingUpdate, outcome: Outcome) {
        state.update = null
        state.finishedAttempt = "${update.rollout} ${update.attempt}"
        if (outcome.ok) state.installedVersion = update.version
        val result = if (outcome.ok) mapOf("status" to "installed")
        else mapOf("status" to "failed", "error_code" to outcome.errorCode, "error" to outcome.reason)
        session.put("/devices/me/updates/${update.rollout}/feedback", result + mapOf("attempt" to update.attempt))
        session.store.save()
        session.flush()
    }

    companion object {
        const val MAX_ATTEMPTS = 200
    }
}

fun sha256(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    file.inputStream().use { stream ->
        val part = ByteArray(1 shl 16)
        while (true) {
            val size = stream.read(part)
            if (size < 0) break
            digest.update(part, 0, size)
        }
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}
