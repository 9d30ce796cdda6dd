package provisioning.agent

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.math.BigInteger
import java.security.AlgorithmParameters
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.PublicKey
import java.security.Signature
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.security.spec.ECGenParameterSpec
import java.security.spec.ECParameterSpec
import java.security.spec.ECPoint
import java.security.spec.ECPublicKeySpec
import java.util.Base64

/** The text is no JWS, or is not signed by one of the keys. */
open class SignatureInvalid(message: String) : Exception(message)

/** The device does not have the key that has signed the text. */
class UnknownKey(kid: String) : SignatureInvalid(kid)

/**
 * Verify a JWS in compact form (RFC 7515) by ES256, and return its claims.
 *
 * The algorithm is that of the key, whatever the JWS says (RFC 8725 §3.1).
 */
fun verifiedClaims(signed: String, keys: List<Map<String, String>>): JsonObject = guarded {
    val parts = parts(signed)
    val header = json(parts[0])
    val kid = header["kid"].asString
    val key = keys.firstOrNull { it["kid"] == kid } ?: throw UnknownKey(kid)
    if (key["alg"] != "ES256" || header["alg"].asString != "ES256") throw SignatureInvalid("algorithm")
    verify(p256Key(key), "SHA256withECDSA", "${parts[0]}.${parts[1]}", fromConcatenated(decode(parts[2]), 32))
    json(parts[1])
}

/**
 * Return the end of the endorsement of [keys] by a CA, in seconds since 1970.
 *
 * The CA must be in [chain], the chain of the device's certificate in PEM.
 */
fun endorsedUntil(endorsement: String, keys: JsonObject, chain: String, deviceId: String): Double = guarded {
    val parts = parts(endorsement)
    val header = json(parts[0])
    val factory = CertificateFactory.getInstance("X.509")
    val der = Base64.getDecoder().decode(header["x5c"].asJsonArray[0].asString)
    val signer = factory.generateCertificate(der.inputStream()) as X509Certificate
    if (signer !in factory.generateCertificates(chain.byteInputStream())) throw SignatureInvalid("signer")
    val raw = decode(parts[2])
    val text = "${parts[0]}.${parts[1]}"
    when (header["alg"].asString) {
        "RS256" -> verify(signer.publicKey, "SHA256withRSA", text, raw)
        "ES256" -> verify(signer.publicKey, "SHA256withECDSA", text, fromConcatenated(raw, 32))
        "ES384" -> verify(signer.publicKey, "SHA384withECDSA", text, fromConcatenated(raw, 48))
        else -> throw SignatureInvalid("algorithm")
    }
    val claims = json(parts[1])
    if (claims["aud"].asString != deviceId || claims["keys"] != keys["keys"]) throw SignatureInvalid("claims")
    claims["exp"].asDouble
}

private fun <T> guarded(block: () -> T): T = try {
    block()
} catch (error: GeneralSecurityException) {
    throw SignatureInvalid(error.toString())
} catch (error: RuntimeException) { // no JSON, no base64, or a missing member
    throw SignatureInvalid(error.toString())
}

private fun parts(signed: String): List<String> =
    signed.split(".").also { if (it.size != 3) throw SignatureInvalid("parts") }

private fun decode(text: String): ByteArray = Base64.getUrlDecoder().decode(text)

private fun json(part: String): JsonObject = JsonParser.parseString(String(decode(part))).asJsonObject

private fun verify(key: PublicKey, algorithm: String, text: String, signature: ByteArray) {
    val verifier = Signature.getInstance(algorithm)
    verifier.initVerify(key)
    verifier.update(text.toByteArray())
    if (!verifier.verify(signature)) throw SignatureInvalid("signature")
}

/** Return R and S, which a JWS contains one after the other (RFC 7518 §3.4), in DER. */
private fun fromConcatenated(raw: ByteArray, size: Int): ByteArray {
    if (raw.size != 2 * size) throw SignatureInvalid("length")
    val numbers = listOf(raw.copyOfRange(0, size), raw.copyOfRange(size, 2 * size))
    return der(0x30, *numbers.map { der(0x02, BigInteger(1, it).toByteArray()) }.toTypedArray())
}

private fun p256Key(jwk: Map<String, String>): PublicKey {
    val parameters = AlgorithmParameters.getInstance("EC")
    parameters.init(ECGenParameterSpec("secp256r1"))
    val point = ECPoint(BigInteger(1, decode(jwk.getValue("x"))), BigInteger(1, decode(jwk.getValue("y"))))
    val spec = ECPublicKeySpec(point, parameters.getParameterSpec(ECParameterSpec::class.java))
    return KeyFactory.getInstance("EC").generatePublic(spec)
}
