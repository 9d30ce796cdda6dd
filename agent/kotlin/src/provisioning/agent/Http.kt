package provisioning.agent

import com.google.gson.Gson
import com.google.gson.JsonParseException
import com.google.gson.JsonParser
import java.io.IOException
import java.io.OutputStream
import java.net.HttpURLConnection
import java.net.URL

/** Status of a request without a response. */
const val NO_RESPONSE = 0

private val SENT_LATER = setOf(401, 403, 407, 408, 425, 429)

/** A body that is not JSON, or is JSON of another shape, as a proxy may send. */
class InvalidResponse(message: String) : Exception(message)

val gson = Gson()

/** The response to a request. [headers] have lower-case names. */
class Response(val status: Int, val text: String, val headers: Map<String, String>) {
    val isSuccess: Boolean get() = status in 200..299

    /** True if the same request can succeed later. */
    val isTemporary: Boolean get() = status == NO_RESPONSE || status == 408 || status == 429 || status >= 500

    /**
     * True if it is of no use to send the same message again. A device in quarantine (403) and one without a
     * token (401) send it later, and a redirection is the answer of a proxy.
     */
    val isFinal: Boolean get() = isSuccess || (status in 400..499 && status !in SENT_LATER)

    /** Seconds in `Retry-After` (RFC 9110 §10.2.3), or 0. */
    val retryAfter: Long get() = headers["retry-after"]?.toLongOrNull()?.coerceIn(0, 600) ?: 0

    /** The code of the first error, or an empty text. */
    val errorCode: String
        get() = try {
            JsonParser.parseString(text).asJsonObject["errors"].asJsonArray[0].asJsonObject["code"].asString
        } catch (error: RuntimeException) {
            ""
        }

    /** Return the body as an object of the generated models. */
    inline fun <reified T> body(): T = try {
        gson.fromJson(text, T::class.java) ?: throw InvalidResponse("empty body")
    } catch (error: JsonParseException) {
        throw InvalidResponse("not JSON")
    }
}

/** Requests on `HttpURLConnection`, which Android and every JRE have. */
class Http(url: String) {
    private val url = url.trimEnd('/')

    /** Send a request. [body] is JSON as text, an image as bytes, or null. */
    fun request(
        method: String,
        path: String,
        token: String = "",
        body: Any? = null,
        headers: Map<String, String> = emptyMap(),
        timeoutSeconds: Int = 30
    ): Response {
        try {
            val connection = open(method, path, token, headers, timeoutSeconds)
            if (body != null) {
                val isImage = body is ByteArray
                val bytes = if (isImage) body as ByteArray else (body as String).toByteArray()
                connection.setRequestProperty("Content-Type", if (isImage) "image/png" else "application/json")
                connection.doOutput = true
                connection.setFixedLengthStreamingMode(bytes.size)
                connection.outputStream.use { it.write(bytes) }
            }
            val status = connection.responseCode
            val stream = if (status < 400) connection.inputStream else connection.errorStream
            val text = stream?.use { it.readBytes().toString(Charsets.UTF_8) } ?: ""
            return Response(status, text, headersOf(connection))
        } catch (error: IOException) {
            return Response(NO_RESPONSE, "", emptyMap())
        }
    }

    /**
     * Write a file, or the rest of it from [start], to [output] of a file that has [start] bytes.
     *
     * Returns the status. With 200 the body is the whole file, and [restart] is called before the first part.
     */
    fun download(
        path: String, token: String, start: Long, etag: String, output: OutputStream, restart: () -> Unit
    ): Response {
        val range = if (start > 0) mapOf("Range" to "bytes=$start-", "If-Range" to etag) else emptyMap()
        try {
            val connection = open("GET", path, token, range, 30)
            val status = connection.responseCode
            if (status == 200) restart()
            if (status == 200 || status == 206) connection.inputStream.use { it.copyTo(output, 1 shl 16) }
            return Response(status, "", headersOf(connection))
        } catch (error: IOException) {
            return Response(NO_RESPONSE, "", emptyMap())
        }
    }

    private fun open(
        method: String, path: String, token: String, headers: Map<String, String>, timeoutSeconds: Int
    ): HttpURLConnection {
        val address = if (path.startsWith("http")) path else url + path
        val connection = URL(address).openConnection() as HttpURLConnection
        connection.requestMethod = method
        connection.connectTimeout = 30_000
        connection.readTimeout = timeoutSeconds * 1000
        connection.instanceFollowRedirects = false
        if (token.isNotEmpty()) connection.setRequestProperty("Authorization", "Bearer $token")
        headers.forEach { (name, value) -> connection.setRequestProperty(name, value) }
        return connection
    }

    private fun headersOf(connection: HttpURLConnection): Map<String, String> =
        connection.headerFields.filterKeys { it != null }.map { it.key.toLowerCase() to it.value.first() }.toMap()
}
