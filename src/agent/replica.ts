import { chmodSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  blockFromMessage,
  blockToMessage,
  endpointFromMessage,
  endpointToMessage,
  type NetworkState,
  networkStateFromMessage,
  networkStateToMessage,
  nodeFromMessage,
  nodeToMessage,
} from "../api/convert.ts";
import { NetworkStateSchema } from "../api/generated/weft/v1/node_pb.js";
import { BlockSchema, EndpointSchema, NodeSchema } from "../api/generated/weft/v1/resources_pb.js";
import type { Cidr } from "../base/cidr.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { err, type Result } from "../base/result.ts";
import type { Block, Endpoint, Node } from "../model/index.ts";

/** Where an endpoint of this node hangs. */
export interface Attachment {
  readonly id: string;
  readonly network: string;
  /** Path of the namespace. */
  readonly netns: string;
  readonly interface: string;
  /**
   * `pending`: claimed, not acknowledged yet. `attached`: the caller was told. `releasing`: gone from the kernel,
   * the server is still to be told. `unclaimed`: attached, but the server, restored from an older copy, does not
   * know it; it is claimed again.
   */
  readonly state: "pending" | "attached" | "releasing" | "unclaimed";
  /** The namespace itself, where the path may come to mean another one; 0 for a name, which stands for whatever bears it. */
  readonly inode: number;
  /** 1 to 99,999: of several networks of one container the one with the lowest gives the default route. */
  readonly routePriority: number;
}

/** Whether the endpoint hangs in its namespace, whatever the server knows of it. */
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
  | { readonly kind: "block-removed"; readonly network: string; readonly cidr: Cidr };

const schemaVersion = 3;

/**
 * What this node needs to bring its endpoints back without the server: the last complete state that the server told,
 * and the attachments. It survives a power cut as of some complete revision.
 */
export class Replica {
  readonly #file: string;
  readonly #database: DatabaseSync;
  #damagedRows = 0;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;

  constructor(dataDirectory: string) {
    const file = join(dataDirectory, "agent.db");
    this.#file = file;
    try {
      this.#database = new DatabaseSync(file);
      chmodSync(file, 0o600);
      this.#database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
      this.#prepareSchema(file);
    } catch (error) {
      if (error instanceof WeftError) throw error;
      const isLocked = messageOf(error).includes("locked");
      const isDamaged = /not a database|malformed/.test(messageOf(error));
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
    this.#statements = Object.fromEntries(
      Object.entries(sql).map(([name, text]) => [name, this.#database.prepare(text)]),
    ) as Record<keyof typeof sql, StatementSync>;
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

  /** Records changes as of a complete state, all or none. */
  apply(changes: Iterable<ReplicaChange>, revision: number): void {
    this.#write(() => {
      this.#database.exec("BEGIN");
      for (const change of changes) this.#applyOne(change);
      this.#statements.writeRevision.run(revision);
      this.#database.exec("COMMIT");
    });
  }

  *networks(): Generator<NetworkState> {
    for (const row of this.#statements.listNetworks.iterate())
      yield* this.#readable(() => networkStateFromMessage(fromBinary(NetworkStateSchema, row.state as Uint8Array)));
  }

  *nodes(): Generator<Node> {
    for (const row of this.#statements.listNodes.iterate())
      yield* this.#readable(() => nodeFromMessage(fromBinary(NodeSchema, row.node as Uint8Array)));
  }

  *endpoints(): Generator<Endpoint> {
    for (const row of this.#statements.listEndpoints.iterate())
      yield* this.#readable(() => endpointFromMessage(fromBinary(EndpointSchema, row.endpoint as Uint8Array)));
  }

  *blocks(): Generator<Block> {
    for (const row of this.#statements.listBlocks.iterate())
      yield* this.#readable(() => blockFromMessage(fromBinary(BlockSchema, row.block as Uint8Array)));
  }

  /** The blocks of a network. */
  blockCidrsOf(network: string): Cidr[] {
    return this.#statements.listBlockCidrs.all(network).map((row) => row.cidr as Cidr);
  }

  /** The endpoints of a network, by id. */
  endpointIdsOf(network: string): string[] {
    return this.#statements.listEndpointIds.all(network).map((row) => row.id as string);
  }

  attachments(): Attachment[] {
    return this.#statements.listAttachments.all().map((row) => ({ ...row }) as unknown as Attachment);
  }

  putAttachment(attachment: Attachment): void {
    const { id, network, netns, state, inode, routePriority } = attachment;
    this.#write(() =>
      this.#statements.putAttachment.run(id, network, netns, attachment.interface, state, inode, routePriority),
    );
  }

  deleteAttachment(id: string): void {
    this.#write(() => this.#statements.deleteAttachment.run(id));
  }

  close(): void {
    this.#database.close();
  }

  #write(action: () => void): void {
    try {
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
        run.putNetwork.run(
          change.state.network.name,
          toBinary(NetworkStateSchema, networkStateToMessage(change.state)),
        );
        break;
      case "network-removed":
        run.deleteNetwork.run(change.name);
        run.deleteEndpointsOf.run(change.name);
        run.deleteBlocksOf.run(change.name);
        break;
      case "node":
        run.putNode.run(change.node.name, toBinary(NodeSchema, nodeToMessage(change.node)));
        break;
      case "node-removed":
        run.deleteNode.run(change.name);
        break;
      case "endpoint":
        run.putEndpoint.run(
          change.endpoint.id,
          change.endpoint.network,
          toBinary(EndpointSchema, endpointToMessage(change.endpoint)),
        );
        break;
      case "endpoint-removed":
        run.deleteEndpoint.run(change.id);
        break;
      case "block":
        run.putBlock.run(change.block.network, change.block.cidr, toBinary(BlockSchema, blockToMessage(change.block)));
        break;
      case "block-removed":
        run.deleteBlock.run(change.network, change.cidr);
        break;
    }
  }

  #prepareSchema(file: string): void {
    const { user_version: version } = this.#database.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version === schemaVersion) return;
    if (version === 1 || version === 2) {
      const missing = version === 1 ? [blockTable, addRoutePriority] : [addRoutePriority];
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
      CREATE TABLE attachments (
        id TEXT PRIMARY KEY, network TEXT NOT NULL, netns TEXT NOT NULL, interface TEXT NOT NULL, state TEXT NOT NULL,
        inode INTEGER NOT NULL, routePriority INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      ${blockTable}
      PRAGMA user_version = ${schemaVersion};
      COMMIT;`);
  }
}

const blockTable = `CREATE TABLE blocks (
  network TEXT NOT NULL, cidr TEXT NOT NULL, block BLOB NOT NULL, PRIMARY KEY (network, cidr)
) STRICT, WITHOUT ROWID;`;

/** In which order they were attached is not known any more; each gets a number of its own. */
const addRoutePriority = `ALTER TABLE attachments ADD COLUMN routePriority INTEGER NOT NULL DEFAULT 1;
UPDATE attachments SET routePriority = (SELECT count(*) FROM attachments AS others WHERE others.id <= attachments.id);`;

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
  deleteEndpointsOf: "DELETE FROM endpoints WHERE network = ?",
  listEndpoints: "SELECT endpoint FROM endpoints",
  listEndpointIds: "SELECT id FROM endpoints WHERE network = ?",
  putBlock: "INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET block = excluded.block",
  deleteBlock: "DELETE FROM blocks WHERE network = ? AND cidr = ?",
  deleteBlocksOf: "DELETE FROM blocks WHERE network = ?",
  listBlocks: "SELECT block FROM blocks",
  listBlockCidrs: "SELECT cidr FROM blocks WHERE network = ?",
  putAttachment:
    "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
  deleteAttachment: "DELETE FROM attachments WHERE id = ?",
  listAttachments: "SELECT id, network, netns, interface, state, inode, routePriority FROM attachments",
} as const;
