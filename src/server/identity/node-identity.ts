import { createHash, type KeyObject, type X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import { parseNodeName } from "../../model/names.ts";

/** Who a node is, by its certificate. */
export interface NodeIdentity {
  readonly name: string;
  /** Of the certificate; writes nothing when the node has joined again since. */
  readonly generation: number;
}

/** A node's certificate as its connection proved it. */
export interface PeerCertificate extends NodeIdentity {
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** SHA-256 of the key's SubjectPublicKeyInfo (DER). */
  readonly publicKeyHash: Buffer;
}

/** The URI that names a node in its certificate's subject alternative name: `weft://node/NAME/GENERATION`. */
export function nodeUri(identity: NodeIdentity): string {
  return `weft://node/${identity.name}/${identity.generation}`;
}

/**
 * The certificate that the peer of a TLS connection proved to hold, expired or not; undefined when it showed none
 * that `authority` signed for a node. The socket must have been accepted with `requestCert` and the CA as only trust.
 */
export function peerCertificate(socket: TLSSocket, authority: KeyObject): PeerCertificate | undefined {
  const expired = String(socket.authorizationError) === "CERT_HAS_EXPIRED";
  if (!socket.authorized && !expired) return undefined;
  const certificate = socket.getPeerX509Certificate();
  // OpenSSL tells only the last error that it found: an expired certificate may be a forged one as well.
  if (certificate === undefined || !certificate.verify(authority)) return undefined;
  return readPeerCertificate(certificate);
}

function readPeerCertificate(certificate: X509Certificate): PeerCertificate | undefined {
  const match = /^URI:weft:\/\/node\/([a-z0-9-]+)\/(\d{1,10})$/.exec(certificate.subjectAltName ?? "");
  if (match === null || !parseNodeName(match[1] as string).ok) return undefined;
  return {
    name: match[1] as string,
    generation: Number(match[2]),
    expires: certificate.validToDate.getTime(),
    publicKeyHash: createHash("sha256")
      .update(certificate.publicKey.export({ format: "der", type: "spki" }))
      .digest(),
  };
}

/** The certificate, or the reason why its bearer may not do what was `attempted`: code `unauthenticated`. */
export function requireValid(peer: PeerCertificate | undefined, attempted: string, clock: Clock): PeerCertificate {
  if (peer === undefined)
    throw new WeftError({
      code: "unauthenticated",
      attempted,
      reason: "the connection showed no certificate of a node of this installation",
      hint: "join first, with a token from: weft token create",
    });
  if (clock.now() >= peer.expires) throw expiredError(peer, attempted);
  return peer;
}

export function expiredError(peer: PeerCertificate, attempted: string): WeftError {
  return new WeftError({
    code: "unauthenticated",
    attempted,
    reason: `the certificate of node ${peer.name} expired at ${new Date(peer.expires).toISOString()}`,
    hint: "the agent renews it by itself; if it could not, join again with a token from: weft token create",
  });
}
