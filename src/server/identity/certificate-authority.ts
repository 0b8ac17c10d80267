import { createHash, type KeyObject, randomBytes, type webcrypto, X509Certificate } from "node:crypto";
import { lstatSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { generatePrivateKey } from "../../api/certificate-request.ts";
import { serverName } from "../../api/clients.ts";
import { nodeUri } from "../../api/node-uri.ts";
import { keyAlgorithm, keyPairOf, x509 } from "../../api/x509.ts";
import type { Clock } from "../../base/clock.ts";
import { type Duration, hours } from "../../base/duration.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { writeFileDurably } from "../../linux/durable-file.ts";
import { readPrivateFile } from "../../linux/private-files.ts";

/** Node certificates are short-lived so that a stolen one is soon worthless; nodes renew at two thirds of it. */
const nodeCertificateLifetime = hours(24);
const serverCertificateLifetime = hours(7 * 24);
const authorityLifetime = hours(10 * 365 * 24);
/** Certificates are good from this long before their making, for hosts whose clocks are late. */
const backdated = hours(24);

/** A server's certificate with its key, as `tls` takes them. */
export interface ServerCertificate {
  /** PEM: the certificate, then the CA's, so that a joining node can find the CA by its fingerprint. */
  readonly chain: string;
  readonly privateKey: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** Whether two thirds of its life are over at `now`, or it was made while the clock was far ahead of that. */
  isRenewalDue(now: number): boolean;
}

/**
 * The certificate authority of one installation: ECDSA on P-256, made at the server's first start and kept in its
 * data directory as `ca.key` and `ca.crt`. RFC 5280.
 */
export class CertificateAuthority {
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 of the certificate's DER, base64url. */
  readonly fingerprint: string;
  /** What its signatures are verified with. */
  readonly publicKey: KeyObject;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #clock: Clock;

  private constructor(certificate: string, keys: webcrypto.CryptoKeyPair, clock: Clock) {
    this.certificate = certificate;
    const { raw, publicKey } = new X509Certificate(certificate);
    this.fingerprint = createHash("sha256").update(raw).digest("base64url");
    this.publicKey = publicKey;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Reads the CA from `directory`, or makes it there. Throws {@link WeftError} when what lies there is no CA. */
  static async open(directory: string, clock: Clock): Promise<CertificateAuthority> {
    const keyFile = join(directory, "ca.key");
    const certificateFile = join(directory, "ca.crt");
    try {
      // The certificate is written last, and nobody has been given one before both are there.
      if (lstatSync(certificateFile, { throwIfNoEntry: false }) === undefined) {
        const keyText = await generatePrivateKey();
        writeFileDurably(keyFile, keyText);
        writeFileDurably(certificateFile, await makeAuthorityCertificate(await keyPairOf(keyText), clock));
      }
      const keys = await keyPairOf(read(keyFile));
      return new CertificateAuthority(read(certificateFile), keys, clock);
    } catch (error) {
      if (error instanceof WeftError) throw error;
      throw new WeftError({
        code: "failed-precondition",
        attempted: `open the certificate authority in ${directory}`,
        reason: messageOf(error),
        hint: "restore ca.key and ca.crt from a backup; without them all nodes must join anew",
        cause: error,
      });
    }
  }

  /** A certificate for a new key of this server, with the name that nodes ask for and `addresses` for other clients. */
  async issueServer(addresses: readonly string[]): Promise<ServerCertificate> {
    const privateKey = await generatePrivateKey();
    const { publicKey } = await keyPairOf(privateKey);
    const made = this.#clock.now();
    const names = new Set([serverName, "localhost", ...addresses]);
    const certificate = await this.#issue(publicKey, serverName, serverCertificateLifetime, [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        [...names].map((name) => ({ type: isIP(name) === 0 ? ("dns" as const) : ("ip" as const), value: name })),
      ),
    ]);
    return {
      chain: `${certificate.toString("pem")}\n${this.certificate}`,
      privateKey,
      expires: certificate.notAfter.getTime(),
      isRenewalDue: (now) => now >= made + (serverCertificateLifetime * 2) / 3 || now < made - backdated / 2,
    };
  }

  /** A certificate, PEM, that names the node and its generation. */
  async issueNode(
    request: CertificateRequest,
    node: string,
    generation: number,
    lifetime: Duration = nodeCertificateLifetime,
  ): Promise<string> {
    const certificate = await this.#issue(request.publicKey, node, lifetime, [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: nodeUri({ name: node, generation }) }]),
    ]);
    return certificate.toString("pem");
  }

  #issue(
    publicKey: webcrypto.CryptoKey,
    commonName: string,
    lifetime: Duration,
    extensions: readonly InstanceType<typeof x509.Extension>[],
  ): Promise<InstanceType<typeof x509.X509Certificate>> {
    const now = this.#clock.now();
    return x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      // For people, and no longer than RFC 5280 allows (ub-common-name); the alternative names say who it is for.
      subject: [{ CN: [commonName.slice(0, 64)] }],
      issuer: new x509.X509Certificate(this.certificate).subject,
      notBefore: new Date(now - backdated),
      notAfter: new Date(now + lifetime),
      publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: keyAlgorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        ...extensions,
      ],
    });
  }
}

/** A certificate request whose proof of possession has been verified. */
export interface CertificateRequest {
  readonly publicKey: webcrypto.CryptoKey;
  /** SHA-256 of the key's SubjectPublicKeyInfo (DER). */
  readonly publicKeyHash: Buffer;
}

/** Reads a PKCS #10 request (DER, RFC 2986) from an untrusted peer: its key must be P-256 and have signed it. */
export async function readCertificateRequest(der: Uint8Array): Promise<Result<CertificateRequest, string>> {
  if (der.length > 4096) return err("the certificate request is longer than 4096 octets");
  try {
    const request = new x509.Pkcs10CertificateRequest(Uint8Array.from(der));
    const publicKey = await request.publicKey.export({ ...keyAlgorithm }, ["verify"]);
    if (!(await request.verify())) return err("the certificate request's signature is wrong");
    return ok({
      publicKey,
      publicKeyHash: createHash("sha256").update(new Uint8Array(request.publicKey.rawData)).digest(),
    });
  } catch (error) {
    return err(`the certificate request cannot be read as PKCS #10 with a P-256 key: ${messageOf(error)}`);
  }
}

function read(path: string): string {
  const text = readPrivateFile(path);
  if (text === undefined) throw new Error(`there is no ${path}`);
  return text;
}

async function makeAuthorityCertificate(keys: webcrypto.CryptoKeyPair, clock: Clock): Promise<string> {
  const now = clock.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    // Distinct names keep the authorities of two installations apart in logs and trust stores.
    name: [{ CN: [`weft ${randomBytes(4).toString("hex")}`] }],
    // Nodes keep it for as long as it lives: one made while the clock was ahead must be good once that is set right.
    notBefore: new Date(now - authorityLifetime),
    notAfter: new Date(now + authorityLifetime),
    keys,
    signingAlgorithm: keyAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return certificate.toString("pem");
}

/** 127 random bits: positive, and unique without a counter. RFC 5280 §4.1.2.2. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
