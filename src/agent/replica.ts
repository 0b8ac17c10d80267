import { closeSync, existsSync, openSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { type NetworkState, networkState } from "../api/convert.ts";
import { kinds, policyMember } from "../api/kinds.ts";
import type { Cidr } from "../base/cidr.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { err, type Result } from "../base/result.ts";
import type { PortPlace } from "../dataplane/index.ts";
import { FilesInPlace } from "../linux/file-in-place.ts";
import { requirePrivate } from "../linux/private-files.ts";
import type { AllowedAddress, Bandwidth, Block, Endpoint, Node, Pod } from "../model/index.ts";
import type { Policy, PolicyMember } from "../model/policy/index.ts";
import type { PublishedPort } from "../model/published-port.ts";
import { resultCode, resultCodeOf } from "../store/sqlite/failure.ts";

/** Where an endpoint of this node hangs. */
export interface Attachment {
  readonly id: string;
  readonly network: string;
  readonly place: AttachmentPlace;
  /**
   * `pending`: claimed, not acknowledged yet. `attached`: the caller was told. `releasing`: gone from the kernel,
   * the server is still to be told. `unclaimed`: attached, but the server, restored from an older copy, does not
   * know it; it is claimed again.
   */
  readonly state: "pending" | "attached" | "releasing" | "unclaimed";
  /** What it may send with beside its own addresses. */
  readonly allowedAddresses: readonly AllowedAddress[];
  /** Its own, in place of what the network says for each endpoint. */
  readonly bandwidth?: Bandwidth;
  /** In its own words, the program that attached it and will detach it, such as a container runtime. Absent: an operator. */
  readonly owner?: string;
  /** What it is told when it asks for metadata: as it was given, and known on this node alone. Absent: nothing. */
  readonly userData?: Uint8Array;
  /** Ports of this node that lead to it. Absent: none. */
  readonly published?: readonly PublishedPort[];
}

export type AttachmentPlace = PortPlace | ExternalPlace;

/** An interface that is not weft's: addresses are held for it, and that is all. */
export interface ExternalPlace {
  readonly kind: "external";
  /** Its name, for people. */
  readonly interface: string;
}

/** Has an interface of weft's. */
export interface PortAttachment extends Attachment {
  readonly place: PortPlace;
}

export function hasPort(attachment: Attachment): attachment is PortAttachment {
  return attachment.place.kind !== "external";
}

/** Whether the endpoint hangs where it was put, whatever the server knows of it. */
export function isInPlace({ state }: Attachment): boolean {
  return state === "attached" || state === "unclaimed";
}

/** One change of what the server said. */
export type ReplicaChange =
  | { readonly kind: "network"; readonly state: NetworkState }
  | { readonly kind: "network-removed"; readonly name: string }
  | { readonly kind: "node"; readonly node: Node }
  | { readonly kind: "node-removed"; readonly name: string }
  | { readonly kind: "endpoint"; readonly endpoint: Endpoint }
  | { readonly kind: "endpoint-removed"; readonly network: string; readonly id: string }
  | { readonly kind: "block"; readonly block: Block }
  | { readonly kind: "block-removed"; readonly network: string; readonly cidr: Cidr }
  | { readonly kind: "policy"; readonly policy: Policy }
  | { readonly kind: "policy-removed"; readonly tenant: string; readonly name: string }
  | { readonly kind: "policy-member"; readonly member: PolicyMember }
  /** Of a `network` that may be unknown: the empty text. */
  | {
      readonly kind: "policy-member-removed";
      readonly tenant: string;
      readonly network: string;
      readonly id: string;
    }
  /** All of the tenant's policies, and all whom these speak of. */
  | { readonly kind: "policies-removed"; readonly tenant: string }
  | PodChange;

/** Nothing of it is in the kernel. */
export type PodChange =
  | { readonly kind: "pod"; readonly pod: Pod }
  | { readonly kind: "pod-removed"; readonly name: string };

export function isPodChange(change: ReplicaChange): change is PodChange {
  return change.kind === "pod" || change.kind === "pod-removed";
}

/** The tenant whose policies a change is about; `undefined`: it is none of policies. */
export function policyTenantOf(change: ReplicaChange): string | undefined {
  switch (change.kind) {
    case "policy":
      return change.policy.tenant;
    case "policy-member":
      return change.member.tenant;
    case "policy-removed":
    case "policy-member-removed":
    case "policies-removed":
      return change.tenant;
    default:
      return undefined;
  }
}

/** The network that a change is of; `undefined`: it is of a node, of a tenant's policies, or of a pod. */
export function networkOf(change: ReplicaChange): string | undefined {
  switch (change.kind) {
    case "network":
      return change.state.network.name;
    case "network-removed":
      return change.name;
    case "endpoint":
      return change.endpoint.network;
    case "block":
      return change.block.network;
    case "endpoint-removed":
    case "block-removed":
      return change.network;
    case "node":
    case "node-removed":
    case "policy":
    case "policy-removed":
    case "policy-member":
    case "policy-member-removed":
    case "policies-removed":
    case "pod":
    case "pod-removed":
      return undefined;
  }
}

/** Whose state a database holds. Under another identity it would be taken for what the server wants gone. */
export interface ReplicaOwner {
  readonly node: string;
  /** SHA-256 of the certificate of the installation's authority. */
  readonly authority: string;
  /** Of the agent that programmed the kernel from it: another one would not find what that one made. */
  readonly instance: string;
}

const schemaVersion = 12;

/**
 * What this node needs to bring its endpoints back without the server: the last complete state that the server told,
 * and the attachments. It survives a power cut as of some complete revision.
 */
export class Replica {
  readonly #file: string;
  /** Called when the file was gone and has been written anew. */
  onRewritten: () => void = () => {};
  #database: DatabaseSync;
  #damagedRows = 0;
  #isDurable = true;
  #statements: Readonly<Record<keyof typeof sql, StatementSync>>;
  #files: FilesInPlace;

  constructor(dataDirectory: string) {
    const file = join(dataDirectory, "agent.db");
    this.#file = file;
    try {
      for (const part of ["", "-wal", "-shm", "-journal"])
        requirePrivate(`${file}${part}`, `open the agent's database ${file}`);
      if (!existsSync(file)) closeSync(openSync(file, "wx", 0o600));
      this.#database = openDatabase(file);
      this.#prepareSchema(file);
    } catch (error) {
      if (error instanceof WeftError) throw error;
      const code = resultCodeOf(error);
      const isLocked = code === resultCode.busy;
      const isDamaged = code === resultCode.corrupt || code === resultCode.notADatabase;
      throw new WeftError({
        code: isLocked ? "already-exists" : "failed-precondition",
        attempted: `open the agent's database ${file}`,
        reason: isLocked ? "another agent uses it" : messageOf(error),
        hint: isLocked
          ? "stop it first, or give this one another --data-dir"
          : isDamaged
            ? "the file is damaged: move it away and start again; what was attached here must be attached anew"
            : "see whether the directory can be written to and the disk has space",
        cause: error,
      });
    }
    this.#statements = prepareStatements(this.#database);
    this.#files = this.#filesInPlace();
  }

  /** Whether what is written is found again at the next start. */
  get isInPlace(): boolean {
    return this.#files.lost() === undefined;
  }

  /** Takes a new database for this owner, one of weft 0.1 as well; throws when it is another's. */
  requireOwner(owner: ReplicaOwner): void {
    this.#write(() => this.#database.exec(ownerTable));
    const known = this.#database.prepare("SELECT node, authority, instance FROM owner").get() as
      | ReplicaOwner
      | undefined;
    if (known === undefined) {
      const { node, authority, instance } = owner;
      const statement = this.#database.prepare("INSERT INTO owner VALUES (1, ?, ?, ?)");
      this.#write(() => statement.run(node, authority, instance));
      return;
    }
    const attempted = `use the agent's database ${this.#file}`;
    const anew = `detach this node's endpoints with the agent that made it, or delete ${this.#file} if none are left`;
    if (known.node !== owner.node)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `it holds the state of node ${known.node}; this agent is node ${owner.node}`,
        hint: anew,
      });
    if (known.authority !== owner.authority)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: "it holds the state of another installation: its servers have another authority",
        hint: anew,
      });
    if (known.instance !== owner.instance)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `it is that of instance ${known.instance}; what that one made in the kernel would stay for ever beside that of instance ${owner.instance}`,
        hint: `start the agent with --instance ${known.instance}, or give this one another --data-dir`,
      });
  }

  /** The revision of the last complete state; 0: the server was never heard. */
  get revision(): number {
    const row = this.#statements.readRevision.get() as { value: number } | undefined;
    return row?.value ?? 0;
  }

  /** Rows that were found damaged so far: what was read is not all that there was. */
  get damagedRows(): number {
    return this.#damagedRows;
  }

  /**
   * Records changes as of a complete state, all or none. `isDurable`: they survive a power cut; those that do not are on disk
   * with the next that do.
   */
  apply(changes: Iterable<ReplicaChange>, revision: number, isDurable = true): void {
    this.#write(() => {
      this.#database.exec("BEGIN");
      for (const change of changes) this.#applyOne(change);
      this.#statements.writeRevision.run(revision);
      this.#database.exec("COMMIT");
    }, isDurable);
  }

  /** Deletes what is of no network: a network that comes in parts is written last, and this one had not come when the agent ended. */
  forgetPartial(): void {
    this.#write(() => {
      this.#statements.deletePartialEndpoints.run();
      this.#statements.deletePartialBlocks.run();
    });
  }

  *networks(): Generator<NetworkState> {
    for (const row of this.#statements.listNetworks.iterate())
      yield* this.#readable(() => networkState.decode(row.state as Uint8Array));
  }

  *nodes(): Generator<Node> {
    for (const row of this.#statements.listNodes.iterate())
      yield* this.#readable(() => kinds.node.decode(row.node as Uint8Array));
  }

  *endpoints(): Generator<Endpoint> {
    for (const row of this.#statements.listEndpoints.iterate())
      yield* this.#readable(() => kinds.endpoint.decode(row.endpoint as Uint8Array));
  }

  *blocks(): Generator<Block> {
    for (const row of this.#statements.listBlocks.iterate())
      yield* this.#readable(() => kinds.block.decode(row.block as Uint8Array));
  }

  *policies(): Generator<Policy> {
    for (const row of this.#statements.listPolicies.iterate())
      yield* this.#readable(() => kinds.policy.decode(row.policy as Uint8Array));
  }

  *policyMembers(): Generator<PolicyMember> {
    for (const row of this.#statements.listPolicyMembers.iterate())
      yield* this.#readable(() => policyMember.decode(row.member as Uint8Array));
  }

  *pods(): Generator<Pod> {
    for (const row of this.#statements.listPods.iterate())
      yield* this.#readable(() => kinds.pod.decode(row.pod as Uint8Array));
  }

  /** The blocks of a network. */
  blockCidrsOf(network: string): Cidr[] {
    return this.#statements.listBlockCidrs.all(network).map((row) => row.cidr as Cidr);
  }

  /** The endpoints of a network, by id. */
  endpointIdsOf(network: string): string[] {
    return this.#statements.listEndpointIds.all(network).map((row) => row.id as string);
  }

  /** The last complete state, as changes of one that is empty. */
  *state(): Generator<ReplicaChange> {
    for (const state of this.networks()) yield { kind: "network", state };
    for (const node of this.nodes()) yield { kind: "node", node };
    for (const block of this.blocks()) yield { kind: "block", block };
    for (const endpoint of this.endpoints()) yield { kind: "endpoint", endpoint };
    for (const policy of this.policies()) yield { kind: "policy", policy };
    for (const member of this.policyMembers()) yield { kind: "policy-member", member };
    for (const pod of this.pods()) yield { kind: "pod", pod };
  }

  attachments(): Attachment[] {
    return this.#statements.listAttachments
      .all()
      .map(({ place, allowedAddresses, bandwidth, owner, userData, published, ...row }) => ({
        ...(row as unknown as Pick<Attachment, "id" | "network" | "state">),
        place: JSON.parse(String(place)),
        allowedAddresses: JSON.parse(String(allowedAddresses)),
        ...(bandwidth === null ? {} : { bandwidth: JSON.parse(String(bandwidth)) }),
        ...(owner === null ? {} : { owner: String(owner) }),
        ...(userData === null ? {} : { userData: userData as Uint8Array }),
        ...(published === null ? {} : { published: JSON.parse(String(published)) }),
      }));
  }

  putAttachment({
    id,
    network,
    state,
    place,
    allowedAddresses,
    bandwidth,
    owner,
    userData,
    published,
  }: Attachment): void {
    const own = bandwidth === undefined ? null : JSON.stringify(bandwidth);
    const [where, allowed] = [JSON.stringify(place), JSON.stringify(allowedAddresses)];
    const ports = published === undefined ? null : JSON.stringify(published);
    const more = [own, owner ?? null, userData ?? null, ports];
    this.#write(() => this.#statements.putAttachment.run(id, network, state, where, allowed, ...more));
  }

  deleteAttachment(id: string): void {
    this.#write(() => this.#statements.deleteAttachment.run(id));
  }

  close(): void {
    this.#database.close();
  }

  #write(action: () => void, isDurable = true): void {
    try {
      if (isDurable !== this.#isDurable) this.#database.exec(`PRAGMA synchronous = ${isDurable ? "FULL" : "OFF"}`);
      this.#isDurable = isDurable;
      action();
    } catch (error) {
      // A full disk has ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw new WeftError({
        code: "failed-precondition",
        attempted: `write the agent's database ${this.#file}`,
        reason: messageOf(error),
        hint: "see whether the directory can be written to and the disk has space",
        cause: error,
      });
    }
    const lost = this.#files.lost();
    if (lost !== undefined) this.#restore(lost);
  }

  #filesInPlace(): FilesInPlace {
    return new FilesInPlace([this.#file, `${this.#file}-wal`]);
  }

  /** Everything is in the deleted files still, which are open here: it is written to new ones. Another's file is left alone. */
  #restore({ path, how }: { readonly path: string; readonly how: "deleted" | "replaced" }): void {
    const attempted = `write the agent's database ${this.#file}`;
    if (how === "replaced")
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `${path} was replaced while the agent ran; its state is in memory alone`,
        hint: `move what is there away, and the agent writes ${this.#file} anew`,
      });
    const anew = `${this.#file}.new`;
    const mask = process.umask(0o077);
    try {
      rmSync(anew, { force: true });
      this.#database.prepare("VACUUM INTO ?").run(anew);
      // A log that was left would be taken for the new file's.
      for (const suffix of ["-wal", "-shm", "-journal"]) rmSync(`${this.#file}${suffix}`, { force: true });
      renameSync(anew, this.#file);
      this.#database.close();
      this.#database = openDatabase(this.#file);
      this.#isDurable = true;
      this.#statements = prepareStatements(this.#database);
      this.#files = this.#filesInPlace();
    } catch (error) {
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `${path} was deleted while the agent ran, and cannot be written anew: ${messageOf(error)}`,
        hint: "make its directory again, and see whether the disk has space; the state is in memory alone until then",
        cause: error,
      });
    } finally {
      process.umask(mask);
    }
    this.onRewritten();
  }

  /** A row that cannot be read was damaged on disk. It is counted, and the others are read. */
  *#readable<Value>(read: () => Result<Value, WeftError>): Generator<Value> {
    let result: Result<Value, unknown>;
    try {
      result = read();
    } catch (error) {
      result = err(error);
    }
    if (result.ok) yield result.value;
    else this.#damagedRows++;
  }

  #applyOne(change: ReplicaChange): void {
    const run = this.#statements;
    switch (change.kind) {
      case "network":
        run.putNetwork.run(change.state.network.name, networkState.encode(change.state));
        break;
      case "network-removed":
        run.deleteNetwork.run(change.name);
        run.deleteEndpointsOf.run(change.name);
        run.deleteBlocksOf.run(change.name);
        break;
      case "node":
        run.putNode.run(change.node.name, kinds.node.encode(change.node));
        break;
      case "node-removed":
        run.deleteNode.run(change.name);
        break;
      case "endpoint":
        run.putEndpoint.run(change.endpoint.id, change.endpoint.network, kinds.endpoint.encode(change.endpoint));
        break;
      case "endpoint-removed":
        run.deleteEndpoint.run(change.id);
        break;
      case "block":
        run.putBlock.run(change.block.network, change.block.cidr, kinds.block.encode(change.block));
        break;
      case "block-removed":
        run.deleteBlock.run(change.network, change.cidr);
        break;
      case "policy":
        run.putPolicy.run(change.policy.name, change.policy.tenant, kinds.policy.encode(change.policy));
        break;
      case "policy-removed":
        run.deletePolicy.run(change.name);
        break;
      case "policy-member":
        run.putPolicyMember.run(change.member.id, change.member.tenant, policyMember.encode(change.member));
        break;
      case "policy-member-removed":
        run.deletePolicyMember.run(change.id);
        break;
      case "policies-removed":
        run.deletePoliciesOf.run(change.tenant);
        run.deletePolicyMembersOf.run(change.tenant);
        break;
      case "pod":
        run.putPod.run(change.pod.name, kinds.pod.encode(change.pod));
        break;
      case "pod-removed":
        run.deletePod.run(change.name);
        break;
    }
  }

  #prepareSchema(file: string): void {
    const { user_version: version } = this.#database.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version === schemaVersion) return;
    if (version > 0 && version < schemaVersion) {
      const missing = schemaSteps.slice(version - 1);
      this.#database.exec(`BEGIN; ${missing.join("\n")} PRAGMA user_version = ${schemaVersion}; COMMIT;`);
      return;
    }
    if (version !== 0)
      throw new WeftError({
        code: "failed-precondition",
        attempted: `open the agent's database ${file}`,
        reason: `it was written by another version of weft (schema ${version}, this one reads ${schemaVersion})`,
        hint: "run the version that wrote it",
      });
    this.#database.exec(`
      BEGIN;
      CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL) STRICT;
      CREATE TABLE networks (name TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
      CREATE TABLE nodes (name TEXT PRIMARY KEY, node BLOB NOT NULL) STRICT, WITHOUT ROWID;
      CREATE TABLE endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL, endpoint BLOB NOT NULL) STRICT, WITHOUT ROWID;
      CREATE INDEX endpoints_by_network ON endpoints (network);
      ${attachmentTable}
      ${addOwner}
      ${addUserData}
      ${addPublished}
      ${blockTable}
      ${policyTables}
      ${podTable}
      PRAGMA user_version = ${schemaVersion};
      COMMIT;`);
  }
}

function openDatabase(file: string): DatabaseSync {
  const database = new DatabaseSync(file);
  database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
  return database;
}

function prepareStatements(database: DatabaseSync): Readonly<Record<keyof typeof sql, StatementSync>> {
  const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
  return Object.fromEntries(prepared) as Record<keyof typeof sql, StatementSync>;
}

const ownerTable = `CREATE TABLE IF NOT EXISTS owner (
  id INTEGER PRIMARY KEY CHECK (id = 1), node TEXT NOT NULL, authority TEXT NOT NULL, instance TEXT NOT NULL
) STRICT;`;

const blockTable = `CREATE TABLE blocks (
  network TEXT NOT NULL, cidr TEXT NOT NULL, block BLOB NOT NULL, PRIMARY KEY (network, cidr)
) STRICT, WITHOUT ROWID;`;

const policyTables = `CREATE TABLE policies (name TEXT PRIMARY KEY, tenant TEXT NOT NULL, policy BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE policyMembers (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, member BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX policyMembersByTenant ON policyMembers (tenant);`;

const podTable = `CREATE TABLE pods (name TEXT PRIMARY KEY, pod BLOB NOT NULL) STRICT, WITHOUT ROWID;`;

/** In which order they were attached is not known any more; each gets a number of its own. */
const addRoutePriority = `ALTER TABLE attachments ADD COLUMN routePriority INTEGER NOT NULL DEFAULT 1;
UPDATE attachments SET routePriority = (SELECT count(*) FROM attachments AS others WHERE others.id <= attachments.id);`;

/** JSON. */
const addAllowedAddresses = `ALTER TABLE attachments ADD COLUMN allowedAddresses TEXT NOT NULL DEFAULT '[]';`;

/** JSON; null: none of its own. */
const addBandwidth = `ALTER TABLE attachments ADD COLUMN bandwidth TEXT;`;

/** `place`, `allowedAddresses`, `bandwidth`: JSON. */
const attachmentTable = `CREATE TABLE attachments (
  id TEXT PRIMARY KEY, network TEXT NOT NULL, state TEXT NOT NULL, place TEXT NOT NULL, allowedAddresses TEXT NOT NULL, bandwidth TEXT
) STRICT, WITHOUT ROWID;`;

const putPlacesTogether = `ALTER TABLE attachments RENAME TO attachmentsBefore;
${attachmentTable}
INSERT INTO attachments SELECT id, network, state,
  json_object('kind', 'netns', 'netns', netns, 'interface', interface, 'inode', inode, 'routePriority', routePriority),
  allowedAddresses, bandwidth FROM attachmentsBefore;
DROP TABLE attachmentsBefore;`;

/** Null: an operator. */
const addOwner = `ALTER TABLE attachments ADD COLUMN owner TEXT;`;

/** Null: none. */
const addUserData = `ALTER TABLE attachments ADD COLUMN userData BLOB;`;

/** JSON; null: none. */
const addPublished = `ALTER TABLE attachments ADD COLUMN published TEXT;`;

/** They were in a namespace without a path. */
const tellExternal = `UPDATE attachments SET place = json_object('kind', 'external', 'interface', json_extract(place, '$.interface'))
  WHERE json_extract(place, '$.kind') = 'netns' AND json_extract(place, '$.netns') = '';`;

/** What brings a database of each version, from 1 on, to the next. */
const schemaSteps = [
  blockTable,
  addRoutePriority,
  addAllowedAddresses,
  addBandwidth,
  policyTables,
  putPlacesTogether,
  addOwner,
  tellExternal,
  addUserData,
  addPublished,
  podTable,
];

const sql = {
  readRevision: "SELECT revision AS value FROM state",
  writeRevision:
    "INSERT INTO state (id, revision) VALUES (1, ?) ON CONFLICT DO UPDATE SET revision = excluded.revision",
  putNetwork: "INSERT INTO networks VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
  deleteNetwork: "DELETE FROM networks WHERE name = ?",
  listNetworks: "SELECT state FROM networks",
  putNode: "INSERT INTO nodes VALUES (?, ?) ON CONFLICT DO UPDATE SET node = excluded.node",
  deleteNode: "DELETE FROM nodes WHERE name = ?",
  listNodes: "SELECT node FROM nodes",
  putEndpoint:
    "INSERT INTO endpoints VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET network = excluded.network, endpoint = excluded.endpoint",
  deleteEndpoint: "DELETE FROM endpoints WHERE id = ?",
  deletePartialEndpoints: "DELETE FROM endpoints WHERE network NOT IN (SELECT name FROM networks)",
  deleteEndpointsOf: "DELETE FROM endpoints WHERE network = ?",
  listEndpoints: "SELECT endpoint FROM endpoints",
  listEndpointIds: "SELECT id FROM endpoints WHERE network = ?",
  putBlock: "INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET block = excluded.block",
  deleteBlock: "DELETE FROM blocks WHERE network = ? AND cidr = ?",
  deletePartialBlocks: "DELETE FROM blocks WHERE network NOT IN (SELECT name FROM networks)",
  deleteBlocksOf: "DELETE FROM blocks WHERE network = ?",
  listBlocks: "SELECT block FROM blocks",
  listBlockCidrs: "SELECT cidr FROM blocks WHERE network = ?",
  putPolicy:
    "INSERT INTO policies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant, policy = excluded.policy",
  deletePolicy: "DELETE FROM policies WHERE name = ?",
  deletePoliciesOf: "DELETE FROM policies WHERE tenant = ?",
  listPolicies: "SELECT policy FROM policies",
  putPolicyMember:
    "INSERT INTO policyMembers VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant, member = excluded.member",
  deletePolicyMember: "DELETE FROM policyMembers WHERE id = ?",
  deletePolicyMembersOf: "DELETE FROM policyMembers WHERE tenant = ?",
  listPolicyMembers: "SELECT member FROM policyMembers",
  putPod: "INSERT INTO pods VALUES (?, ?) ON CONFLICT DO UPDATE SET pod = excluded.pod",
  deletePod: "DELETE FROM pods WHERE name = ?",
  listPods: "SELECT pod FROM pods",
  putAttachment:
    "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, place = excluded.place, owner = excluded.owner, published = excluded.published",
  deleteAttachment: "DELETE FROM attachments WHERE id = ?",
  listAttachments:
    "SELECT id, network, state, place, allowedAddresses, bandwidth, owner, userData, published FROM attachments",
} as const;
