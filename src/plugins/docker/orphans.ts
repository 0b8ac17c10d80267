import type { Clock } from "../../base/clock.ts";
import { minutes, seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";

export interface OrphansOptions<Endpoint> {
  readonly clock: Clock;
  readonly logger: Logger;
  /** All that Docker has of weft's, by weft's ids. */
  readonly list: () => ReadonlyMap<string, Endpoint>;
  /** The interface is with the host, and in no container. */
  readonly isWithHost: (id: string) => Promise<boolean>;
  readonly release: (endpoint: Endpoint) => Promise<void>;
}

const interval = seconds(15);
/** Docker takes an interface as soon as it has the container's sandbox, and what it gave back it deletes at once. */
const longest = minutes(1);

/**
 * Endpoints that Docker has forgotten: it was killed before it wrote down that it has one, or gave one back while no agent ran.
 * Nobody tells of them, and they are known by their interfaces, which stay with the host.
 */
export class Orphans<Endpoint> {
  readonly #options: OrphansOptions<Endpoint>;
  /** When each of those whose interface is with the host was first seen so, by the clock that never goes back. */
  readonly #since = new Map<string, number>();
  #cancel: () => void = () => {};

  constructor(options: OrphansOptions<Endpoint>) {
    this.#options = options;
  }

  begin(): void {
    this.#cancel = this.#options.clock.after(interval, () => void this.#look());
  }

  close(): void {
    this.#cancel();
    this.#cancel = () => {};
  }

  async #look(): Promise<void> {
    const { logger } = this.#options;
    const cancel = this.#cancel;
    try {
      await this.#lookAtAll();
    } catch (error) {
      logger.warn({ error: messageOf(error) }, "could not look for endpoints that Docker has forgotten; trying again");
    }
    if (this.#cancel === cancel) this.begin();
  }

  async #lookAtAll(): Promise<void> {
    const { clock, logger, list, isWithHost, release } = this.#options;
    const endpoints = list();
    for (const id of this.#since.keys()) if (!endpoints.has(id)) this.#since.delete(id);
    for (const [id, endpoint] of endpoints) {
      if (!(await isWithHost(id))) {
        this.#since.delete(id);
        continue;
      }
      const since = this.#since.get(id) ?? clock.monotonic();
      this.#since.set(id, since);
      if (clock.monotonic() - since < longest) continue;
      logger.warn({ endpoint: id }, "Docker has not taken its interface; giving the endpoint back");
      await release(endpoint);
    }
  }
}
