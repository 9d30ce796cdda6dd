// The HTTP layer of the generated client. The generator's own needs okhttp 4.
package provisioning.client.infrastructure

import com.google.gson.reflect.TypeToken
import java.net.HttpURLConnection
import java.net.URL
import java.net.URLEncoder
import okhttp3.Call

class Answer(val status: Int, val headers: Map<String, List<String>>, val text: String)

open class ApiClient(val baseUrl: String, val client: Call.Factory = defaultClient) {
    companion object {
        const val BASE_URL_KEY: String = "provisioning.client.baseUrl"
        var accessToken: String? = null

        @JvmStatic
        val defaultClient: Call.Factory = object : Call.Factory {}
    }

    var accessTokenProvider: () -> String? = { accessToken }

    protected inline fun <reified I, reified T : Any?> request(config: RequestConfig<I>): ApiResponse<T?> {
        val answer = send(config, config.body?.let { Serializer.gson.toJson(it) })
        return when (answer.status) {
            in 200..299 -> Success(parsed<T>(answer.text), answer.status, answer.headers)
            in 300..399 -> Redirection(answer.status, answer.headers)
            in 400..499 -> ClientError(answer.text, answer.text, answer.status, answer.headers)
            else -> ServerError(answer.text, answer.text, answer.status, answer.headers)
        }
    }

    protected inline fun <reified T : Any?> parsed(text: String): T? {
        if (text.isEmpty() || T::class.java == Unit::class.java) return null
        return Serializer.gson.fromJson<T>(text, object : TypeToken<T>() {}.type)
    }

    protected fun send(config: RequestConfig<*>, body: String?): Answer {
        val query = config.query.flatMap { (name, values) -> values.map { "$name=" + URLEncoder.encode(it, "UTF-8") } }
        val address = baseUrl + config.path + if (query.isEmpty()) "" else "?" + query.joinToString("&")
        val connection = URL(address).openConnection() as HttpURLConnection
        connection.requestMethod = config.method.name
        config.headers.forEach { (name, value) -> connection.setRequestProperty(name, value) }
        accessTokenProvider()?.let { connection.setRequestProperty("Authorization", "Bearer $it") }
        if (body != null) {
            connection.doOutput = true
            connection.outputStream.use { it.write(body.toByteArray()) }
        }
        val status = connection.responseCode
        val stream = if (status < 400) connection.inputStream else connection.errorStream
        val text = stream?.use { it.readBytes().toString(Charsets.UTF_8) } ?: ""
        return Answer(status, connection.headerFields.filterKeys { it != null }, text)
    }

    protected fun parameterToString(value: Any?): String = value?.toString() ?: ""

    protected inline fun <reified T : Any> parseDateToQueryString(value: T): String =
        Serializer.gson.toJson(value, T::class.java).replace("\"", "")
}
