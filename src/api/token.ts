import { err, ok, type Result } from "../base/result.ts";

/**
 * What lets one node join once. Its text is `weft-SECRET.FINGERPRINT`: the secret proves the node to the server,
 * the fingerprint proves the server to the node before the secret is sent.
 */
export interface Token {
  /** 24 random octets, base64url. */
  readonly secret: string;
  /** SHA-256 of the CA certificate's DER, base64url. */
  readonly fingerprint: string;
}

const pattern = /^weft-([A-Za-z0-9_-]{32})\.([A-Za-z0-9_-]{43})$/;

export function formatToken(token: Token): string {
  return `weft-${token.secret}.${token.fingerprint}`;
}

export function parseToken(text: string): Result<Token, string> {
  const match = pattern.exec(text.trim());
  if (match === null) return err("it is not of the form weft-SECRET.FINGERPRINT; part of it may be missing");
  return ok({ secret: match[1] as string, fingerprint: match[2] as string });
}
