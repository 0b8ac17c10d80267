import { createHash, X509Certificate } from "node:crypto";
import { connect, type DetailedPeerCertificate } from "node:tls";
import type { Client } from "@connectrpc/connect";
import { seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { certificateRequest, generatePrivateKey } from "./certificate-request.ts";
import { type Credentials, explainTls, parseServerUrl, serverName, tlsConnection } from "./clients.ts";
import type { NodeService } from "./generated/weft/v1/node_pb.js";
import { parseToken } from "./token.ts";

const connectTimeout = seconds(5);

/**
 * Trades a one-use token for the node's certificate. The token is sent only to a server that proves to hold a
 * certificate of the CA whose fingerprint the token carries. After a lost answer call it again with the same
 * `privateKey`: the same token then gives the same node again. Throws {@link WeftError}: `invalid-argument`
 * (token or name malformed), `unauthenticated` (token wrong, used or expired; not this installation's server),
 * `unavailable`.
 */
export async function joinServer(options: {
  /** `https://ADDRESS:PORT`. */
  readonly url: string;
  readonly token: string;
  /** The node's name. */
  readonly node: string;
  /** PKCS #8, PEM; absent: a new one. Keep it on disk before the call if the call is to be repeatable. */
  readonly privateKey?: string;
}): Promise<Credentials> {
  const attempted = `join ${options.url} as node ${options.node}`;
  const token = parseToken(options.token);
  if (!token.ok)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `the token cannot be read: ${token.error}`,
      hint: "make a new one with: weft token create",
    });
  const caCertificate = await findAuthority(options.url, token.value.fingerprint, attempted);
  const privateKey = options.privateKey ?? (await generatePrivateKey());
  const connection = tlsConnection(options.url, { ca: caCertificate });
  try {
    const answer = await connection.client.join(
      {
        token: options.token.trim(),
        node: options.node,
        certificateRequest: certificateRequest(privateKey, options.node),
      },
      { timeoutMs: seconds(15) },
    );
    return { certificate: answer.certificate, caCertificate: answer.caCertificate, privateKey };
  } finally {
    connection.close();
  }
}

/** A new certificate for the same node and key. `client` is connected with the old one, which may have expired lately. */
export async function renewCertificate(
  client: Client<typeof NodeService>,
  credentials: Credentials,
): Promise<Credentials> {
  const answer = await client.renewCertificate(
    { certificateRequest: certificateRequest(credentials.privateKey, "renewal") },
    { timeoutMs: seconds(15) },
  );
  return {
    certificate: answer.certificate,
    caCertificate: answer.caCertificate,
    privateKey: credentials.privateKey,
  };
}

/** How long a certificate is good, in milliseconds since 1970. Renew when two thirds of it have passed. */
export function certificateValidity(certificatePem: string): { readonly from: number; readonly until: number } {
  const certificate = new X509Certificate(certificatePem);
  return { from: certificate.validFromDate.getTime(), until: certificate.validToDate.getTime() };
}

/**
 * The CA certificate with this fingerprint, PEM, as the server presents it in its chain. Nothing but a TLS
 * handshake crosses the wire; that the server holds a certificate of this CA is proved by the next connection,
 * which trusts this CA alone.
 */
function findAuthority(url: string, fingerprint: string, attempted: string): Promise<string> {
  const { host, port } = parseServerUrl(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, servername: serverName, rejectUnauthorized: false, minVersion: "TLSv1.3" });
    socket.setTimeout(connectTimeout, () =>
      socket.destroy(Object.assign(new Error("the connection timed out"), { code: "ETIMEDOUT" })),
    );
    socket.once("error", (error) => reject(explainTls(url, "Join", error)));
    socket.once("secureConnect", () => {
      const der = authorityInChain(socket.getPeerCertificate(true), fingerprint);
      socket.destroy();
      if (der !== undefined) resolve(new X509Certificate(der).toString());
      else
        reject(
          new WeftError({
            code: "unauthenticated",
            attempted,
            reason: "the server there is not the one that made the token: its CA has another fingerprint",
            hint: "see whether the address is right; the token was not sent",
          }),
        );
    });
  });
}

function authorityInChain(leaf: DetailedPeerCertificate, fingerprint: string): Buffer | undefined {
  const seen = new Set<DetailedPeerCertificate>();
  // A self-signed certificate is its own issuer: the chain ends in a circle.
  for (
    let link: DetailedPeerCertificate | undefined = leaf;
    link?.raw !== undefined && !seen.has(link);
    link = link.issuerCertificate
  ) {
    seen.add(link);
    if (createHash("sha256").update(link.raw).digest("base64url") === fingerprint) return link.raw;
  }
  return undefined;
}
