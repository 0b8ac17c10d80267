/**
 * A node's key and what it sends to get a certificate for it. Written with node:crypto alone: the X.509 library that the
 * server needs takes 15 MB, which every agent would hold for a few hundred octets now and then.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, sign } from "node:crypto";
import { promisify } from "node:util";

/** A new private key, ECDSA on P-256 (FIPS 186-5): PKCS #8, PEM. */
export async function generatePrivateKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  return privateKey.export({ format: "pem", type: "pkcs8" }).toString();
}

/**
 * The certificate request of a P-256 key: PKCS #10, DER, signed by ECDSA with SHA-256. Throws when it is another kind
 * of key.
 *
 * RFC 2986 §4:
 *
 *     CertificationRequest ::= SEQUENCE {
 *       certificationRequestInfo  SEQUENCE { version INTEGER { v1(0) }, subject Name,
 *                                            subjectPKInfo SubjectPublicKeyInfo, attributes [0] },
 *       signatureAlgorithm        SEQUENCE { algorithm OBJECT IDENTIFIER },
 *       signature                 BIT STRING }
 */
export function certificateRequest(privateKeyPem: string, commonName: string): Uint8Array {
  const privateKey = createPrivateKey(privateKeyPem);
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1")
    throw new TypeError("a node's private key is an ECDSA key on P-256");
  const attribute = der(tag.sequence, der(tag.objectIdentifier, commonNameOid), der(tag.utf8String, text(commonName)));
  const information = der(
    tag.sequence,
    der(tag.integer, Uint8Array.of(0)),
    der(tag.sequence, der(tag.set, attribute)),
    createPublicKey(privateKey).export({ format: "der", type: "spki" }),
    der(tag.noAttributes),
  );
  return der(
    tag.sequence,
    information,
    der(tag.sequence, der(tag.objectIdentifier, ecdsaWithSha256Oid)),
    // The first octet of a BIT STRING says how many bits at its end are unused.
    der(tag.bitString, Uint8Array.of(0), sign("sha256", information, privateKey)),
  );
}

/** X.690 §8: identifier octets. */
const tag = {
  integer: 0x02,
  bitString: 0x03,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  /** `[0]`, constructed, empty. */
  noAttributes: 0xa0,
} as const;

/** 2.5.4.3, RFC 5280 appendix A.1. */
const commonNameOid = Uint8Array.of(0x55, 0x04, 0x03);
/** 1.2.840.10045.4.3.2, RFC 5758 §3.2. */
const ecdsaWithSha256Oid = Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02);

/** One value with its tag and length: X.690 §8.1. */
function der(identifier: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const lengthOctets = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(identifier, ...lengthOctets), ...parts]);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
