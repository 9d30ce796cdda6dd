package provisioning.agent

import java.io.File
import java.security.KeyFactory
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.Signature
import java.security.spec.ECGenParameterSpec
import java.security.spec.PKCS8EncodedKeySpec
import java.security.spec.X509EncodedKeySpec
import java.util.Base64

/** A P-256 key pair. On Android, use a key of the `AndroidKeyStore` instead of [fileKey]. */
fun fileKey(privateFile: File, publicFile: File): KeyPair {
    if (!privateFile.exists()) {
        val generator = KeyPairGenerator.getInstance("EC")
        generator.initialize(ECGenParameterSpec("secp256r1"))
        val pair = generator.generateKeyPair()
        writeAtomically(publicFile, pair.public.encoded) // the private key last: it says that both exist
        writeAtomically(privateFile, pair.private.encoded)
        return pair
    }
    val factory = KeyFactory.getInstance("EC")
    return KeyPair(
        factory.generatePublic(X509EncodedKeySpec(publicFile.readBytes())),
        factory.generatePrivate(PKCS8EncodedKeySpec(privateFile.readBytes())))
}

/** Return a CSR (RFC 2986) in PEM, signed with ECDSA and SHA-256. The server ignores the name in it. */
fun csr(key: KeyPair, commonName: String): String {
    val commonNameOid = byteArrayOf(0x06, 0x03, 0x55, 0x04, 0x03) // 2.5.4.3
    val ecdsaWithSha256 = byteArrayOf(0x06, 0x08, 0x2A, 0x86.toByte(), 0x48, 0xCE.toByte(), 0x3D, 0x04, 0x03, 0x02)
    val name = sequence(der(0x31, sequence(commonNameOid, der(0x0C, commonName.take(64).toByteArray()))))
    val version = byteArrayOf(0x02, 0x01, 0x00)
    val info = sequence(version, name, key.public.encoded, byteArrayOf(0xA0.toByte(), 0x00))
    val signer = Signature.getInstance("SHA256withECDSA")
    signer.initSign(key.private)
    signer.update(info)
    val signature = der(0x03, byteArrayOf(0) + signer.sign())
    val request = sequence(info, sequence(ecdsaWithSha256), signature)
    val lines = Base64.getMimeEncoder(64, byteArrayOf('\n'.toByte())).encodeToString(request)
    return "-----BEGIN CERTIFICATE REQUEST-----\n$lines\n-----END CERTIFICATE REQUEST-----\n"
}

private fun sequence(vararg parts: ByteArray): ByteArray = der(0x30, *parts)

/** Encode a value in DER (X.690 §10). */
internal fun der(tag: Int, vararg parts: ByteArray): ByteArray {
    val content = parts.fold(ByteArray(0)) { all, part -> all + part }
    val size = content.size
    val length = when {
        size < 0x80 -> byteArrayOf(size.toByte())
        size < 0x100 -> byteArrayOf(0x81.toByte(), size.toByte())
        else -> byteArrayOf(0x82.toByte(), (size shr 8).toByte(), size.toByte())
    }
    return byteArrayOf(tag.toByte()) + length + content
}
