package provisioning.agent

/** Requests with the device's token, and messages that must arrive. */
class Session(val http: Http, val store: Store, private val clock: () -> Double) {
    val state: State get() = store.state

    /** Seconds that the device's clock is behind the server's. */
    var clockOffset = 0.0

    /** The time of the server in seconds since 1970. */
    fun serverTime(): Double = clock() + clockOffset

    /** Send a request as the device. After 401 it has no token any more, and must register again. */
    fun call(
        method: String, path: String, body: Any? = null,
        headers: Map<String, String> = emptyMap(), timeoutSeconds: Int = 30
    ): Response {
        val token = state.token
        val text = if (body == null || body is ByteArray) body else gson.toJson(body)
        val response = http.request(method, path, token, text, headers, timeoutSeconds)
        if (response.status == 401 && token == state.token) {
            state.token = ""
            store.save()
        }
        if (response.status == 429 || response.status == 503) pause(response.retryAfter.coerceAtMost(60))
        return response
    }

    /** Add a message that must arrive. The caller saves the state with it. */
    fun put(path: String, body: Any) = synchronized(store) {
        state.outbox.add(Message(path, body))
        while (state.outbox.size > MAX_OUTBOX) state.outbox.removeAt(0)
    }

    /** Send the messages of the outbox, the oldest first. Those that cannot be sent now are kept. */
    fun flush() {
        while (state.token.isNotEmpty()) {
            val message = synchronized(store) { state.outbox.firstOrNull() } ?: return
            val response = call("POST", message.path, message.body)
            if (!response.isFinal) return
            synchronized(store) {
                state.outbox.remove(message)
                store.save()
            }
        }
    }

    companion object {
        const val MAX_OUTBOX = 200
    }
}

fun pause(seconds: Long) = Thread.sleep(seconds * 1000)
