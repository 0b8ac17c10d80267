import { createHash, randomBytes } from "node:crypto";
import type { NodeIdentity } from "../api/node-uri.ts";
import { formatToken, parseToken } from "../api/token.ts";
import { equalBytes } from "../base/bytes.ts";
import { type Duration, formatDuration, hours, minutes, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { parseNodeName } from "../model/names.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import {
  type CertificateAuthority,
  type CertificateRequest,
  readCertificateRequest,
} from "./identity/certificate-authority.ts";
import { expiredError, type PeerCertificate } from "./identity/node-identity.ts";
import type { Ledger } from "./ledger.ts";
import { type Identity, records, remove, tokens } from "./records.ts";
import { Repetition } from "./repetition.ts";
import type { Versioned } from "./state.ts";
import type { Voucher } from "./voucher.ts";

const shortestTokenLifetime = seconds(1);
const longestTokenLifetime = hours(7 * 24);
/** A host that was off for this long after its certificate expired still gets a new one, for the same key alone. */
const renewalGrace = hours(30 * 24);
/** An expired token is remembered for this long, so that its bearer is told why it is refused. */
const tokenMemory = hours(24);
const tokenSweepInterval = minutes(10);
/** Anyone may ask: so many at the same time are asked the voucher about. */
const mostVouching = 16;

/** What a node is given when it joins or renews; PEM. */
export interface IssuedCertificate {
  readonly certificate: string;
  readonly caCertificate: string;
}

/** Who may speak as which node: join tokens, certificates, generations. */
export class Identities {
  readonly #ledger: Ledger;
  readonly #authority: CertificateAuthority;
  readonly #voucher: Voucher | undefined;
  readonly #sweeper: Repetition;
  #vouching = 0;

  /** Without a voucher nodes join with tokens of the server's alone. */
  constructor(ledger: Ledger, authority: CertificateAuthority, voucher?: Voucher) {
    this.#ledger = ledger;
    this.#authority = authority;
    this.#voucher = voucher;
    this.#sweeper = new Repetition(ledger, tokenSweepInterval, "forget expired tokens", () => this.#sweep());
  }

  close(): Promise<void> {
    return this.#sweeper.stop();
  }

  /** Makes a one-use token. The store keeps its hash alone. */
  async createToken(lifetime: Duration): Promise<{ readonly token: string; readonly expires: number }> {
    const attempted = "create a token";
    if (!(lifetime >= shortestTokenLifetime && lifetime <= longestTokenLifetime))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `a lifetime of ${formatDuration(lifetime)} is not between ${formatDuration(shortestTokenLifetime)} and ${formatDuration(longestTokenLifetime)}`,
      });
    const secret = randomBytes(24).toString("base64url");
    const expires = this.#ledger.clock.now() + lifetime;
    const operation = tokens.put({ expires }, hashOf(secret));
    await this.#ledger.commit(attempted, () => ({
      conditions: [{ key: operation.key, revision: 0 }],
      operations: [operation],
    }));
    return { token: formatToken({ issuer: "weft", secret, fingerprint: this.#authority.fingerprint }), expires };
  }

  /**
   * Consumes a token and registers the node's name, both or neither. A name that has joined before gets a higher
   * generation: certificates of the older one are refused from then on. The same token with the same key and name
   * gives the same node again, so that a node can repeat a join whose answer was lost. One that is vouched for may join
   * each time.
   */
  async join(token: string, node: string, certificateRequest: Uint8Array): Promise<IssuedCertificate> {
    const attempted = `join as node ${JSON.stringify(node.slice(0, 80))}`;
    const name = parseNodeName(node);
    if (!name.ok) throw new WeftError({ code: "invalid-argument", attempted, reason: `the name is not ${name.error}` });
    const parsed = parseToken(token);
    if (!parsed.ok) throw refusedToken(attempted, `the token cannot be read: ${parsed.error}`);
    if (parsed.value.issuer === "vouched")
      return this.#joinVouched(parsed.value.secret, node, certificateRequest, attempted);
    const hash = hashOf(parsed.value.secret);
    const key = tokens.key(hash);
    // Anyone may ask: nothing costly is done before the token is known.
    if ((await this.#ledger.store.get(key)) === undefined) throw unknownToken(attempted);
    const request = await readRequest(certificateRequest, attempted);
    let generation = 0;
    await this.#ledger.commit(attempted, async () => {
      const entry = await this.#ledger.store.get(key);
      if (entry === undefined) throw unknownToken(attempted);
      const { expires, used } = tokens.decode(entry.value);
      const identity = this.#ledger.state.identities.get(node);
      if (used !== undefined) {
        const repeated =
          used.node === node &&
          equalBytes(used.publicKeyHash, request.publicKeyHash) &&
          identity?.value.generation === used.generation &&
          !identity.value.revoked;
        if (!repeated) throw refusedToken(attempted, `the token has been used, by node ${used.node}`);
        generation = used.generation;
        return { conditions: [], operations: [] };
      }
      if (this.#ledger.clock.now() >= expires)
        throw refusedToken(attempted, `the token expired at ${new Date(expires).toISOString()}`);
      const next = this.#nextGeneration(node);
      ({ generation } = next);
      return {
        conditions: [{ key, revision: entry.revision }, ...next.conditions],
        operations: [
          tokens.put({ expires, used: { node, publicKeyHash: request.publicKeyHash, generation } }, hash),
          ...next.operations,
        ],
      };
    });
    this.#ledger.logger.info({ node, generation }, "node joined");
    return this.#issue(request, node, generation);
  }

  async #joinVouched(
    token: string,
    node: string,
    certificateRequest: Uint8Array,
    attempted: string,
  ): Promise<IssuedCertificate> {
    const voucher = this.#voucher;
    if (voucher === undefined) throw refusedToken(attempted, "nobody vouches for nodes at this server");
    if (this.#vouching >= mostVouching)
      throw new WeftError({
        code: "unavailable",
        attempted,
        reason: `${this.#vouching} others join at this moment`,
        hint: "try again",
      });
    this.#vouching++;
    const vouched = await voucher.nodeOf(token).finally(() => this.#vouching--);
    if (vouched !== node)
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: `the token is of node ${vouched}`,
        hint: `let the agent have the name ${vouched}: WEFT_NODE`,
      });
    const request = await readRequest(certificateRequest, attempted);
    let generation = 0;
    await this.#ledger.commit(attempted, () => {
      const next = this.#nextGeneration(node);
      ({ generation } = next);
      return next;
    });
    this.#ledger.logger.info({ node, generation }, "node joined, vouched for");
    return this.#issue(request, node, generation);
  }

  /** What makes the node of this name another one from now on. */
  #nextGeneration(node: string): Transaction & { readonly generation: number } {
    const { identities, nodes } = this.#ledger.state;
    const identity = identities.get(node);
    const generation = (identity?.value.generation ?? 0) + 1;
    const conditions: Condition[] = [{ key: records.identity.key(node), revision: identity?.revision ?? 0 }];
    const operations: Operation[] = [records.identity.put({ generation, revoked: false }, node)];
    const registered = nodes.get(node);
    if (registered !== undefined) {
      conditions.push({ key: records.node.key(node), revision: registered.revision });
      operations.push(records.node.put({ ...registered.value, generation }, node));
    }
    return { generation, conditions, operations };
  }

  /** A new certificate for the same node and key. The old one may have expired, up to 30 days ago. */
  async renew(peer: PeerCertificate, certificateRequest: Uint8Array): Promise<IssuedCertificate> {
    const attempted = `renew the certificate of node ${peer.name}`;
    this.requireCurrent(peer, attempted);
    if (this.#ledger.clock.now() >= peer.expires + renewalGrace) throw expiredError(peer, attempted);
    const request = await readRequest(certificateRequest, attempted);
    if (!equalBytes(request.publicKeyHash, peer.publicKeyHash))
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: "the request is for another key than that of the certificate",
        hint: "join again with a new token to change the key",
      });
    return this.#issue(request, peer.name, peer.generation);
  }

  /** The identity in force for this node; throws unless the caller's certificate is of its generation. */
  requireCurrent(caller: NodeIdentity, attempted: string): Versioned<Identity> {
    const identity = this.#ledger.state.identities.get(caller.name);
    if (identity === undefined || identity.value.revoked)
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: `node ${caller.name} was deleted`,
        hint: "let it join again with a token from: weft token create",
      });
    if (identity.value.generation !== caller.generation) {
      this.#ledger.logger.warn(
        { node: caller.name, generation: caller.generation, current: identity.value.generation },
        "refused a node whose name has joined again since",
      );
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: `another host has joined as node ${caller.name} since: this one is generation ${caller.generation}, the node is generation ${identity.value.generation}`,
        hint: "give one of the two hosts another name, and a token of its own",
      });
    }
    return identity;
  }

  async #issue(request: CertificateRequest, node: string, generation: number): Promise<IssuedCertificate> {
    return {
      certificate: await this.#authority.issueNode(request, node, generation),
      caCertificate: this.#authority.certificate,
    };
  }

  async #sweep(): Promise<void> {
    const now = this.#ledger.clock.now();
    const { entries } = await this.#ledger.store.range(tokens.prefix);
    const old = entries.filter((entry) => now >= tokens.decode(entry.value).expires + tokenMemory);
    for (const entry of old.slice(0, 500))
      await this.#ledger.submit({
        conditions: [{ key: entry.key, revision: entry.revision }],
        operations: [remove(entry.key)],
      });
  }
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

async function readRequest(der: Uint8Array, attempted: string): Promise<CertificateRequest> {
  const request = await readCertificateRequest(der);
  if (!request.ok) throw new WeftError({ code: "invalid-argument", attempted, reason: request.error });
  return request.value;
}

function unknownToken(attempted: string): WeftError {
  return refusedToken(attempted, "the server does not know the token");
}

function refusedToken(attempted: string, reason: string): WeftError {
  return new WeftError({
    code: "unauthenticated",
    attempted,
    reason,
    hint: "make a new one with: weft token create",
  });
}
