/** Keys and certificates of a cluster, and the files in which its programs and people find theirs. */
import { generateKeyPairSync, webcrypto } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { keyAlgorithm, x509 } from "../../src/api/x509.ts";

const { KeyUsageFlags } = x509;

export class Pki {
  readonly folder: string;
  readonly #apiServer: string;
  readonly #keys: webcrypto.CryptoKeyPair;
  #serial = 1;

  private constructor(folder: string, apiServer: string, keys: webcrypto.CryptoKeyPair) {
    this.folder = folder;
    this.#apiServer = apiServer;
    this.#keys = keys;
  }

  /** Makes the authority and the key of service accounts. `apiServer`: its URL. */
  static async make(folder: string, apiServer: string): Promise<Pki> {
    mkdirSync(folder, { recursive: true });
    const keys = await generateKeys();
    const pki = new Pki(folder, apiServer, keys);
    const authority = await pki.#certificate("CN=test authority", keys.publicKey, [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ]);
    writeFileSync(pki.authority, authority);
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(pki.keyOf("accounts"), privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(join(folder, "accounts.pub"), publicKey.export({ type: "spki", format: "pem" }));
    return pki;
  }

  get authority(): string {
    return join(this.folder, "ca.crt");
  }

  certificateOf(name: string): string {
    return join(this.folder, `${name}.crt`);
  }

  keyOf(name: string): string {
    return join(this.folder, `${name}.key`);
  }

  kubeconfigOf(name: string): string {
    return join(this.folder, `${name}.kubeconfig`);
  }

  async issueServer(name: string, ...names: readonly string[]): Promise<void> {
    await this.#issue(name, `CN=${name}`, [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((each) => ({ type: isIP(each) === 0 ? ("dns" as const) : ("ip" as const), value: each })),
      ),
    ]);
  }

  /** And a kubeconfig. To Kubernetes, CN is the user and O a group. */
  async issueClient(name: string, user: string, group?: string): Promise<void> {
    const subject = group === undefined ? `CN=${user}` : `O=${group}, CN=${user}`;
    await this.#issue(name, subject, [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])]);
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [{ name: "test", cluster: { server: this.#apiServer, "certificate-authority": this.authority } }],
      users: [{ name, user: { "client-certificate": this.certificateOf(name), "client-key": this.keyOf(name) } }],
      contexts: [{ name: "test", context: { cluster: "test", user: name } }],
    };
    writeFileSync(this.kubeconfigOf(name), JSON.stringify(config));
  }

  async #issue(name: string, subject: string, extensions: readonly x509.Extension[]): Promise<void> {
    const { privateKey, publicKey } = await generateKeys();
    const octets = await webcrypto.subtle.exportKey("pkcs8", privateKey);
    writeFileSync(this.keyOf(name), x509.PemConverter.encode(octets, "PRIVATE KEY"), { mode: 0o600 });
    writeFileSync(this.certificateOf(name), await this.#certificate(subject, publicKey, extensions));
  }

  async #certificate(
    subject: string,
    publicKey: webcrypto.CryptoKey,
    extensions: readonly x509.Extension[],
  ): Promise<string> {
    const day = 24 * 3_600_000;
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (this.#serial++).toString(16).padStart(2, "0"),
      subject,
      issuer: "CN=test authority",
      notBefore: new Date(Date.now() - day),
      notAfter: new Date(Date.now() + day),
      signingAlgorithm: keyAlgorithm,
      publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [...extensions],
    });
    return certificate.toString("pem");
  }
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}
