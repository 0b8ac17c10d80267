import { createHash, type KeyObject, type X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { type NodeIdentity, nodeOfCertificate } from "../../api/node-uri.ts";
import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";

/** A node's certificate as its connection proved it. */
export interface PeerCertificate extends NodeIdentity {
  /** Milliseconds since 1970. */
  readonly begins: number;
  readonly expires: number;
  /** SHA-256 of the key's SubjectPublicKeyInfo (DER). */
  readonly publicKeyHash: Buffer;
}

/**
 * The certificate that the peer of a TLS connection proved to hold, be its time now or not; undefined when it showed none
 * that `authority` signed for a node. The socket must have been accepted with `requestCert` and the CA as only trust.
 */
export function peerCertificate(socket: TLSSocket, authority: KeyObject): PeerCertificate | undefined {
  const isOfAnotherTime = /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(String(socket.authorizationError));
  if (!socket.authorized && !isOfAnotherTime) return undefined;
  const certificate = socket.getPeerX509Certificate();
  // OpenSSL tells only the last error that it found: an expired certificate may be a forged one as well.
  if (certificate === undefined || !certificate.verify(authority)) return undefined;
  return readPeerCertificate(certificate);
}

function readPeerCertificate(certificate: X509Certificate): PeerCertificate | undefined {
  const node = nodeOfCertificate(certificate);
  if (node === undefined) return undefined;
  return {
    ...node,
    begins: certificate.validFromDate.getTime(),
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
  // It was made while this host's clock was ahead of what it says now.
  if (clock.now() < peer.begins)
    throw new WeftError({
      code: "unauthenticated",
      attempted,
      reason: `the certificate of node ${peer.name} is valid from ${new Date(peer.begins).toISOString()} on, and the server's clock says ${new Date(clock.now()).toISOString()}`,
      hint: "the agent renews it by itself; see that the server's clock is right",
    });
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
