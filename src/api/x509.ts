import "reflect-metadata"; // What the X.509 library's injection container asks for, before it is loaded.
import { createPrivateKey, createPublicKey, type KeyObject, webcrypto } from "node:crypto";

export * as x509 from "@peculiar/x509";

/** ECDSA on P-256 with SHA-256: the one kind of key in weft. FIPS 186-5, RFC 5480. */
export const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** The key pair of a private key in PEM, as the X.509 library takes it. Throws when it is no P-256 key. */
export async function keyPairOf(privateKeyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const privateKey = createPrivateKey(privateKeyPem);
  const publicKey: KeyObject = createPublicKey(privateKey);
  return {
    privateKey: await webcrypto.subtle.importKey(
      "pkcs8",
      privateKey.export({ format: "der", type: "pkcs8" }),
      keyAlgorithm,
      false,
      ["sign"],
    ),
    publicKey: await webcrypto.subtle.importKey(
      "spki",
      publicKey.export({ format: "der", type: "spki" }),
      keyAlgorithm,
      true,
      ["verify"],
    ),
  };
}
