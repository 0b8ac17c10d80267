import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { certificateRequest, generatePrivateKey } from "./certificate-request.ts";
import { x509 } from "./x509.ts";

for (const name of ["renewal", "h1", "n".repeat(63), "n".repeat(120), "n".repeat(300)])
  test(`the X.509 library reads the request of a key, with a name of ${name.length} octets`, async () => {
    const key = await generatePrivateKey();
    const request = new x509.Pkcs10CertificateRequest(Uint8Array.from(certificateRequest(key, name)));
    assert.equal(await request.verify(), true);
    assert.equal(request.subject, `CN=${name}`);
    assert.equal(request.attributes.length, 0);
    assert.deepEqual(
      Buffer.from(request.publicKey.rawData),
      createPublicKey(key).export({ format: "der", type: "spki" }),
    );
  });

test("a damaged request does not verify", async () => {
  const request = Uint8Array.from(certificateRequest(await generatePrivateKey(), "h1"));
  const octet = Buffer.from(request).indexOf("h1");
  request[octet] = "x".charCodeAt(0);
  assert.equal(await new x509.Pkcs10CertificateRequest(request).verify(), false);
});

test("another kind of key is refused", () => {
  const { privateKey } = generateKeyPairSync("ed25519");
  assert.throws(
    () => certificateRequest(privateKey.export({ format: "pem", type: "pkcs8" }).toString(), "h1"),
    /P-256/,
  );
});
