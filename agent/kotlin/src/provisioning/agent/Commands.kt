package provisioning.agent

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import provisioning.client.models.MyCommands

const val COMMANDS = "/devices/me/commands"

/**
 * Fetch, verify and execute commands, and answer them once.
 *
 * A command is noted before it is executed, so it is executed once at most. A command that a crash has
 * interrupted is answered as failed; a reboot as succeeded, if the device has restarted.
 */
class Commands(private val session: Session, private val device: Device, private val checkUpdate: () -> Unit) {
    private val state: State get() = session.state

    /** Answer the command that was being executed when the app ended. */
    fun recover() {
        val command = state.command ?: return
        val hasSucceeded = when (command.type) {
            "restart" -> true // of this app
            "reboot" -> command.bootId != device.bootId()
            else -> false
        }
        finish(command.id, answer(if (hasSucceeded) Outcome() else Outcome(false, "The app was interrupted.")))
    }

    /** Fetch and execute all waiting commands. Only one thread does so at a time. */
    @Synchronized
    fun fetch() {
        while (true) {
            val before = state.lastSequence
            val response = session.call("GET", "$COMMANDS?after=$before")
            if (response.errorCode == "sequence_ahead") {
                state.lastSequence = 0
                session.store.save()
                if (before != 0) continue else return
            }
            if (response.status != 200) return
            for (command in response.body<MyCommands>().results) {
                val claims = try {
                    verified(command.signed)
                } catch (error: SignatureInvalid) {
                    continue // not for this device, not by this server, or repeated
                } ?: return // the keys cannot be fetched; the next fetch returns the command again
                execute(claims)
            }
            if (state.lastSequence == before) return
        }
    }

    private fun verified(signed: String): JsonObject? {
        val now = session.serverTime()
        if (state.commandKeysUntil <= now && !fetchKeys()) return null
        val claims = try {
            verifiedClaims(signed, state.commandKeys)
        } catch (error: UnknownKey) {
            if (!fetchKeys()) return null
            verifiedClaims(signed, state.commandKeys)
        }
        val isOurs = claims["aud"].asString == state.deviceId
        val isNew = claims["sequence"].asInt > state.lastSequence
        if (!isOurs || !isNew || claims["exp"].asDouble <= now) throw SignatureInvalid("claims")
        return claims
    }

    /** Fetch the keys that verify commands. Return false if a CA of the chain has not endorsed them. */
    private fun fetchKeys(): Boolean {
        val response = session.call("GET", "/devices/me/command-keys")
        if (response.status != 200) return false
        val keys = JsonParser.parseString(response.text).asJsonObject
        val endorsement = keys["endorsement"]
        var until = session.serverTime() + 3600 // without a certificate, the device has to trust TLS
        if (endorsement.isJsonNull && state.commandKeys.isNotEmpty()) {
            state.commandKeysUntil = session.serverTime() + 3600
            session.store.save()
            return true
        }
        if (state.chain.isNotEmpty()) {
            if (endorsement.isJsonNull) return false
            until = try {
                endorsedUntil(endorsement.asString, keys, state.chain, state.deviceId)
            } catch (error: SignatureInvalid) {
                return false
            }
        }
        state.commandKeys = keys["keys"].asJsonArray.map { key ->
            key.asJsonObject.entrySet().map { it.key to it.value.asString }.toMap()
        }
        state.commandKeysUntil = until
        session.store.save()
        return until > session.serverTime()
    }

    private fun execute(claims: JsonObject) {
        val id = claims["jti"].asString
        val type = claims["type"].asString
        state.lastSequence = claims["sequence"].asInt
        state.command = PendingCommand(id, type, device.bootId())
        session.store.save()
        @Suppress("UNCHECKED_CAST")
        val parameters = gson.fromJson(claims["parameters"], Map::class.java) as Map<String, Any>? ?: emptyMap()
        finish(id, run(id, type, parameters))
        session.flush()
    }

    /** Execute a command. Return its answer; null if an upload has answered it. */
    private fun run(id: String, type: String, parameters: Map<String, Any>): Map<String, Any>? = when (type) {
        "install_update" -> {
            checkUpdate()
            answer(Outcome())
        }
        "screenshot" -> screenshot(parameters)
        else -> {
            if (type == "reboot" || type == "restart") {
                session.call("POST", "$COMMANDS/$id/answer", mapOf("status" to "running"))
            }
            val before = device.bootId()
            val outcome = try {
                device.execute(type, parameters)
            } catch (error: RuntimeException) {
                Outcome(false, error.toString())
            }
            answer(if (type == "reboot" && outcome.ok) restarted(before) else outcome)
        }
    }

    /** Wait for the restart, which usually ends this process. [recover] answers after it. */
    private fun restarted(before: String): Outcome {
        for (second in 1..300) {
            if (device.bootId() != before) return Outcome()
            pause(1)
        }
        return Outcome(false, "The device did not restart.")
    }

    private fun screenshot(parameters: Map<String, Any>): Map<String, Any>? {
        val image = device.screenshot((parameters["max_width"] as? Double)?.toInt())
            ?: return answer(Outcome(false, "The device cannot take a screenshot."))
        for (attempt in 1..5) {
            val response = session.call("PUT", parameters.getValue("upload_url") as String, image)
            if (response.isSuccess || response.status == 410) return null
            if (!response.isTemporary) break
            pause(attempt.toLong())
        }
        return answer(Outcome(false, "The server did not accept the screenshot."))
    }

    /** Note the answer together with the end of the command. */
    private fun finish(id: String, answer: Map<String, Any>?) {
        state.command = null
        if (answer != null) session.put("$COMMANDS/$id/answer", answer)
        session.store.save()
    }

    private fun answer(outcome: Outcome): Map<String, Any> =
        if (outcome.ok) mapOf("status" to "succeeded") else mapOf("status" to "failed", "reason" to outcome.reason)
}
