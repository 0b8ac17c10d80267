import { isDeepStrictEqual } from "node:util";
import type { Agent } from "../../agent/agent.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { KernelObject } from "../../dataplane/index.ts";
import { isNameLabel, labelsOfNames } from "../../model/endpoint-names.ts";
import type { Labels } from "../../model/policy/index.ts";
import type { DockerNetworks } from "./docker-networks.ts";
import type { Engine } from "./engine.ts";
import type { EngineEndpoints } from "./engine-endpoints.ts";

const lookAgain = seconds(5);
/** Of one container in one network: an endpoint has so many labels at most, and others beside. */
const mostNames = 64;

export interface EngineNamesOptions {
  readonly agent: Pick<Agent, "desired" | "problems" | "setLabels" | "options">;
  readonly networks: DockerNetworks;
  readonly endpoints: EngineEndpoints;
  readonly engine: Engine;
}

/**
 * Labels endpoints of Docker's with what their containers are called, where weft's network has names. Docker does not say that to a
 * plugin: its API is asked, never from within its own calls, since it waits for those.
 */
export class EngineNames {
  readonly #options: EngineNamesOptions;
  /** By Docker's id of the endpoint. */
  readonly #names = new Map<string, readonly string[]>();
  #following: AbortController | undefined;
  #cancel: () => void = () => {};
  #isSetting = false;
  #isWanted = false;

  constructor(options: EngineNamesOptions) {
    this.#options = options;
  }

  /** Looks whether there is something to be followed, and again from time to time: networks come to have names, and servers come back. */
  begin(): void {
    this.#cancel = this.#options.agent.options.clock.after(lookAgain, () => this.begin());
    const isAnyNamed = this.#options.networks.list().some(({ network }) => this.#hasNames(network));
    if (!isAnyNamed) {
      this.#following?.abort();
      this.#options.agent.problems.cleared(problem);
      return;
    }
    if (this.#following === undefined) void this.#follow();
    this.#setSoon();
  }

  close(): void {
    this.#cancel();
    this.#cancel = () => {};
    this.#following?.abort();
  }

  /** Of a network of weft's. */
  #hasNames(network: string): boolean {
    return this.#options.agent.desired.networks.get(network)?.network.names === true;
  }

  async #follow(): Promise<void> {
    const { agent, engine } = this.#options;
    const following = new AbortController();
    this.#following = following;
    const begun = Promise.withResolvers<void>();
    const events = engine.events(following.signal, begun.resolve);
    try {
      const first = events.next();
      first.catch(begun.reject);
      await begun.promise;
      await this.#readAll();
      agent.problems.cleared(problem);
      for (let { done, value } = await first; done !== true; { done, value } = await events.next())
        await this.#read(value.container);
    } catch (error) {
      if (!following.signal.aborted)
        agent.problems.failed(problem, error instanceof Error ? error : new Error(messageOf(error)));
    }
    following.abort();
    await events.return(undefined).catch(() => {});
    this.#following = undefined;
  }

  async #readAll(): Promise<void> {
    const { engine, networks } = this.#options;
    const ids = Array.from(networks.list(), ({ id }) => id);
    this.#names.clear();
    for (const id of await engine.containersOf(ids)) await this.#read(id);
  }

  async #read(id: string): Promise<void> {
    const container = await this.#options.engine.container(id);
    if (container === undefined) return;
    for (const [endpoint, aliases] of container.aliases)
      if (endpoint !== "") this.#names.set(endpoint, [container.name, ...aliases].slice(0, mostNames));
    this.#setSoon();
  }

  #setSoon(): void {
    this.#isWanted = true;
    if (!this.#isSetting) void this.#set();
  }

  /** What cannot be set now is looked at again. */
  async #set(): Promise<void> {
    const { agent, endpoints } = this.#options;
    this.#isSetting = true;
    while (this.#isWanted) {
      this.#isWanted = false;
      for (const { owner, endpoint } of [...endpoints.list()]) {
        const names = this.#names.get(owner.endpoint);
        if (names === undefined || !this.#hasNames(endpoint.network)) continue;
        const labels = withNames(endpoint.labels, names);
        if (isDeepStrictEqual(labels, endpoint.labels ?? {})) continue;
        await agent
          .setLabels(endpoint.id, labels)
          .catch((error: unknown) =>
            agent.options.logger.info({ endpoint: endpoint.id, error: messageOf(error) }, "its names are set later"),
          );
      }
      const known = new Set(endpoints.list().map(({ owner }) => owner.endpoint));
      for (const id of this.#names.keys()) if (!known.has(id)) this.#names.delete(id);
    }
    this.#isSetting = false;
  }
}

const problem: KernelObject = { kind: "names of Docker's containers" };

/** Other labels stay: an administrator gave them. */
function withNames(labels: Labels = {}, names: readonly string[]): Labels {
  const others = Object.entries(labels).filter(([label]) => !isNameLabel(label));
  return { ...Object.fromEntries(others), ...labelsOfNames(names) };
}
