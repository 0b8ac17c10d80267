import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Cidr, parseCidr } from "../../base/cidr.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { writeFileDurably } from "../../linux/durable-file.ts";
import { parseNetworkName } from "../../model/names.ts";

/** A network of Docker's on this engine, which leads to one of weft's. */
export interface DockerNetwork {
  /** Docker's id. */
  readonly id: string;
  /** The name of weft's. */
  readonly network: string;
  /** The subnets that Docker was told: some of the network's, or all. */
  readonly pools: readonly Cidr[];
  /** Made with `--internal`: its containers get no default route. */
  readonly isInternal: boolean;
}

const idPattern = /^[A-Za-z0-9]{1,128}$/;
const suffix = ".json";

/** The networks of Docker's that are weft's. Docker tells of each once, when it is made: they are kept on disk, a file each. */
export class DockerNetworks {
  readonly #folder: string;
  readonly #networks = new Map<string, DockerNetwork>();

  constructor(dataDirectory: string, logger: Logger) {
    this.#folder = join(dataDirectory, "docker");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(this.#folder).filter((name) => name.endsWith(suffix))) {
      const path = join(this.#folder, file);
      try {
        const network = parseNetwork(file.slice(0, -suffix.length), readFileSync(path, "utf8"));
        this.#networks.set(network.id, network);
      } catch (error) {
        logger.warn({ file: path, error: messageOf(error) }, "cannot be read; its containers cannot start");
      }
    }
  }

  /** All of them. */
  list(): IteratorObject<DockerNetwork> {
    return this.#networks.values();
  }

  get(id: string): DockerNetwork {
    const network = this.#networks.get(id);
    if (network !== undefined) return network;
    throw new WeftError({
      code: "not-found",
      attempted: `find network ${id} of Docker's`,
      reason: "this node's agent does not know it, as after its data directory was lost",
      hint: "see its options with docker network inspect, remove it and create it again",
    });
  }

  /** The network of weft's that all networks of Docker's with this pool lead to; `undefined`: there is none. */
  networkOf(pool: string): string | undefined {
    return this.#with(pool)?.network;
  }

  put(network: DockerNetwork): void {
    const attempted = `create network ${network.id} of Docker's`;
    if (!idPattern.test(network.id))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `NetworkID: found "${network.id}"; allowed: up to 128 letters and digits`,
      });
    // When Docker asks for an address it names the pool and not the network.
    const other = network.pools.map((pool) => this.#with(pool)).find((each) => each !== undefined);
    if (other !== undefined && other.network !== network.network)
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `network ${other.id.slice(0, 12)} of this engine leads to network ${other.network} of weft's, with the same subnet`,
        hint: `one engine cannot be in two networks of weft's that have the same subnet; if Docker has that network no more, remove ${this.#pathOf(other.id)} and restart the agent`,
      });
    const { id, ...content } = network;
    writeFileDurably(this.#pathOf(id), `${JSON.stringify(content)}\n`);
    this.#networks.set(id, network);
  }

  remove(id: string): void {
    if (!this.#networks.has(id)) return;
    rmSync(this.#pathOf(id), { force: true });
    this.#networks.delete(id);
  }

  #with(pool: string): DockerNetwork | undefined {
    return this.#networks.values().find(({ pools }) => pools.some((each) => each === pool));
  }

  #pathOf(id: string): string {
    return join(this.#folder, `${id}${suffix}`);
  }
}

function parseNetwork(id: string, text: string): DockerNetwork {
  const { network, pools, isInternal } = JSON.parse(text);
  const name = parseNetworkName(`${network}`);
  const cidrs = Array.isArray(pools) ? pools.map((pool) => parseCidr(`${pool}`)) : [];
  if (!idPattern.test(id) || !name.ok || !cidrs.every((each) => each.ok))
    throw new WeftError({
      code: "failed-precondition",
      attempted: `read what is kept of network ${id} of Docker's`,
      reason: "it is not as weft wrote it",
    });
  return { id, network: name.value, pools: cidrs.map((each) => each.value), isInternal: isInternal === true };
}
