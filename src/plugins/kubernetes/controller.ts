import type { Client } from "@connectrpc/connect";
import type { z } from "zod";
import type { AdminService } from "../../api/generated/weft/v1/admin_pb.js";
import type { Clock } from "../../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ApiClient } from "./api/client.ts";
import { Collection, type Named } from "./api/collection.ts";
import { keepNodes } from "./nodes.ts";
import { namespaceSchema, networkPolicySchema, nodeSchema, podSchema, serviceSchema } from "./objects.ts";
import { sleep } from "./sleep.ts";
import { type Observed, Translation } from "./translation.ts";
import { WeftResources } from "./weft-resources.ts";

export interface ControllerOptions {
  readonly kubernetes: ApiClient;
  readonly weft: Client<typeof AdminService>;
  /** Of pods whose namespace names none. */
  readonly network: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Between two looks at what the server has, which others may change as well. */
const lookInterval = seconds(60);
const shortestPause = milliseconds(20);
const longestPause = seconds(30);
/** Looking at all of it takes a small part of the time. */
const pauseForCost = 5;

/** Keeps weft's pods, policies and nodes as those of Kubernetes are. It has no state of its own, and more than one of it does no harm. */
export class Controller {
  readonly #options: ControllerOptions;
  readonly #collections;
  readonly #translation: Translation;
  readonly #resources: WeftResources;
  /** Of networks that there are. */
  #tenants = new Map<string, string>();
  #isLoaded = false;
  #areNodesChanged = true;
  #arePoliciesChanged = true;
  /** Of policies: what beside them decides what they mean. */
  #areSurroundingsChanged = true;
  /** When they may be looked at again for that. */
  #nextPolicies = 0;
  #wake: () => void = () => {};
  #isAwake = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { kubernetes: client, network, clock, logger } = options;
    this.#translation = new Translation(network, logger);
    this.#resources = new WeftResources(options.weft, logger);
    const common = { client, clock, logger };
    const collection = <Item extends Named>(
      path: string,
      schema: z.ZodType<Item>,
      onChange: () => void,
      parameters = {},
    ) =>
      new Collection({
        ...{ ...common, path, schema, parameters },
        onChange: () => {
          onChange();
          this.#isAwake = true;
          this.#wake();
        },
      });
    const ofPolicies = (): void => {
      this.#arePoliciesChanged = true;
    };
    const ofSurroundings = (): void => {
      this.#areSurroundingsChanged = true;
    };
    const ofNodes = (): void => {
      this.#areNodesChanged = true;
    };
    this.#collections = {
      namespaces: collection("/api/v1/namespaces", namespaceSchema, ofPolicies),
      policies: collection("/apis/networking.k8s.io/v1/networkpolicies", networkPolicySchema, ofPolicies),
      services: collection("/api/v1/services", serviceSchema, ofSurroundings),
      // One that has ended is deleted to whoever watches so.
      pods: collection("/api/v1/pods", podSchema, ofSurroundings, {
        fieldSelector: "status.phase!=Succeeded,status.phase!=Failed",
      }),
      nodes: collection("/api/v1/nodes", nodeSchema, ofNodes),
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    const collections = Object.values(this.#collections);
    const following = collections.map((collection) => collection.run(signal));
    await this.#keep(signal);
    await Promise.all(following);
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    let lookAgain = 0;
    let failures = 0;
    while (!signal.aborted) {
      const began = clock.monotonic();
      if (began >= lookAgain) this.#isLoaded = false;
      try {
        if (Object.values(this.#collections).every(({ isComplete }) => isComplete)) {
          if (!this.#isLoaded) lookAgain = began + lookInterval;
          await this.#pass();
        }
        failures = 0;
      } catch (error) {
        this.#isLoaded = false;
        failures++;
        logger.warn({ error: messageOf(error) }, "weft is not yet as Kubernetes has it; trying again");
      }
      const pause =
        failures > 0
          ? Math.min(shortestPause * 2 ** failures, longestPause)
          : Math.max(shortestPause, clock.monotonic() - began);
      await sleep(clock, pause as Duration, signal);
      if (failures > 0) continue;
      await this.#awake(this.#isLoaded ? this.#rest(lookAgain) : lookInterval, signal);
    }
  }

  async #pass(): Promise<void> {
    const { weft, logger } = this.#options;
    this.#isAwake = false;
    const observed = this.#observed;
    const isFirst = !this.#isLoaded;
    if (isFirst) {
      await this.#resources.load();
      this.#tenants.clear();
    }
    await this.#findTenants(this.#translation.networksIn(observed));
    this.#isLoaded = true;
    // A pod has the policies that are for it when it begins.
    if (isFirst || this.#arePoliciesChanged) await this.#keepPolicies();
    const pods = this.#translation.pods(this.#observed);
    await this.#resources.put("pod", pods);
    await this.#resources.removeOthers("pod", pods);
    if (this.#areSurroundingsChanged && this.#options.clock.monotonic() >= this.#nextPolicies)
      await this.#keepPolicies();
    if (!isFirst && !this.#areNodesChanged) return;
    this.#areNodesChanged = false;
    await keepNodes(weft, this.#collections.nodes.items.values(), logger);
  }

  /** Those that name ports, or reach services, follow what pods and services there are; that takes longer than telling of a pod. */
  async #keepPolicies(): Promise<void> {
    const { clock } = this.#options;
    const began = clock.monotonic();
    this.#arePoliciesChanged = false;
    this.#areSurroundingsChanged = false;
    const policies = this.#translation.policies(this.#observed, (network) => this.#tenants.get(network));
    this.#nextPolicies = clock.monotonic() + Math.max(shortestPause, (clock.monotonic() - began) * pauseForCost);
    await this.#resources.put("policy", policies);
    await this.#resources.removeOthers("policy", policies);
  }

  get #observed(): Observed {
    const { namespaces, policies, services, pods } = this.#collections;
    return { namespaces: namespaces.items, policies: policies.items, services: services.items, pods: pods.items };
  }

  /** A network that is not there yet is looked for each time. */
  async #findTenants(networks: ReadonlySet<string>): Promise<void> {
    if ([...networks].every((name) => this.#tenants.has(name))) return;
    const { resources } = await this.#options.weft.list({ kind: "network" });
    for (const { resource } of resources)
      if (resource.case === "network" && networks.has(resource.value.name))
        this.#tenants.set(resource.value.name, resource.value.tenant);
  }

  /** Until there is something to do though nothing changes. */
  #rest(lookAgain: number): Duration {
    const next = this.#areSurroundingsChanged ? Math.min(lookAgain, this.#nextPolicies) : lookAgain;
    return (next - this.#options.clock.monotonic()) as Duration;
  }

  /** Resolves when something changed, or after `most`. */
  async #awake(most: Duration, signal: AbortSignal): Promise<void> {
    if (this.#isAwake) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#options.clock, most, AbortSignal.any([signal, woken.signal]));
    this.#wake = () => {};
  }
}
