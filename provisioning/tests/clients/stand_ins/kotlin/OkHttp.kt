// What the generated code uses of okhttp 4. Debian has okhttp 3.13.
package okhttp3

import java.net.URLEncoder

interface Call {
    interface Factory
}

class HttpUrl private constructor(val encodedPathSegments: List<String>) {
    class Builder {
        private val segments = mutableListOf<String>()

        fun scheme(scheme: String): Builder = this

        fun host(host: String): Builder = this

        fun addPathSegment(segment: String): Builder {
            segments.add(URLEncoder.encode(segment, "UTF-8").replace("+", "%20"))
            return this
        }

        fun build(): HttpUrl = HttpUrl(segments)
    }
}
