/** Another authority, which says on which node the bearer of a token of its own runs: nodes join with these as well. */
export interface Voucher {
  /** Throws {@link WeftError}: `unauthenticated` when the token is not good, `unavailable` when nobody can say so now. */
  nodeOf(token: string): Promise<string>;
  /** Tells those who have such tokens the fingerprint of this server's CA. Resolves when it is told, or `signal` aborted. */
  announce(fingerprint: string, signal: AbortSignal): Promise<void>;
}
