import { err, ok, type Result } from "../base/result.ts";

/**
 * What lets a node join. Its text is `weft-SECRET.FINGERPRINT`, good for one node once, or `vouched-SECRET.FINGERPRINT`: the secret proves
 * the node to the server, the fingerprint proves the server to the node before the secret is sent.
 */
export interface Token {
  /** `weft`: the server made it. `vouched`: somebody else did, who says of which node its bearer is. */
  readonly issuer: "weft" | "vouched";
  /** Of the server's: 24 random octets, base64url. Otherwise of the letters that a JSON Web Token has (RFC 7515 §7.1). */
  readonly secret: string;
  /** SHA-256 of the CA certificate's DER, base64url. */
  readonly fingerprint: string;
}

const pattern = /^(?:weft-([A-Za-z0-9_-]{32})|vouched-([A-Za-z0-9_.-]{1,8192}))\.([A-Za-z0-9_-]{43})$/;

export function formatToken({ issuer, secret, fingerprint }: Token): string {
  return `${issuer}-${secret}.${fingerprint}`;
}

export function parseToken(text: string): Result<Token, string> {
  const match = pattern.exec(text.trim());
  if (match === null) return err("it is not of the form weft-SECRET.FINGERPRINT; part of it may be missing");
  const [, own, vouched = "", fingerprint = ""] = match;
  return ok(
    own === undefined
      ? { issuer: "vouched", secret: vouched, fingerprint }
      : { issuer: "weft", secret: own, fingerprint },
  );
}
