import { isDeepStrictEqual } from "node:util";
import type { Client } from "@connectrpc/connect";
import type { AdminService, Resource as ResourceMessage } from "../../api/generated/weft/v1/admin_pb.js";
import { asCase, kinds } from "../../api/kinds.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { unwrap } from "../../base/result.ts";
import type { Policy } from "../../model/policy/index.ts";
import type { Pod } from "../../model/resources.ts";
import { managedBy } from "./managed-by.ts";

export type KeptKind = "policy" | "pod";

/** Resources in one request. */
const mostAtOnce = 500;
const keptKinds: readonly KeptKind[] = ["policy", "pod"];

/** Resources at weft's server that are marked as made from Kubernetes' objects. What is not so marked is never written. */
export class WeftResources {
  readonly #client: Client<typeof AdminService>;
  readonly #logger: Logger;
  /** As the server has them. */
  readonly #present = { policy: new Map<string, Policy>(), pod: new Map<string, Pod>() };
  /** The server does not take these as they are: they are offered again once they are others, or after {@link load}. */
  readonly #refused = new Map<string, unknown>();

  constructor(client: Client<typeof AdminService>, logger: Logger) {
    this.#client = client;
    this.#logger = logger;
  }

  /** Asks the server what there is. */
  async load(): Promise<void> {
    for (const kind of keptKinds) {
      const { resources } = await this.#client.list({ kind });
      const table = this.#present[kind] as Map<string, Policy | Pod>;
      table.clear();
      for (const { resource } of resources) {
        if (resource.case !== kind) continue;
        const value = unwrap<Policy | Pod, WeftError>(kinds[kind].fromMessage(resource.value as never));
        table.set(value.name, value);
      }
    }
    this.#refused.clear();
  }

  /** The server has these as they are, whatever else it has. Throws when it cannot be asked. */
  async put(kind: KeptKind, wanted: ReadonlyMap<string, Policy | Pod>): Promise<void> {
    const different = [...wanted.values()].filter((value) => {
      if (this.#isPresent(kind, value) || isDeepStrictEqual(this.#refused.get(keyOf(kind, value)), value)) return false;
      const before = this.#present[kind].get(value.name);
      if (before === undefined || before.managedBy === managedBy) return true;
      this.#refuse(kind, value, `there is a ${kind} of this name that is not Kubernetes'`);
      return false;
    });
    for (let start = 0; start < different.length; start += mostAtOnce) {
      const some = different.slice(start, start + mostAtOnce);
      if (await this.#apply(kind, some)) continue;
      // All or none: whatever is wrong with one keeps no other from being made.
      for (const one of some) await this.#apply(kind, [one]);
    }
  }

  #isPresent(kind: KeptKind, value: Policy | Pod): boolean {
    const present: Map<string, Policy | Pod> = this.#present[kind];
    const before = present.get(value.name);
    if (before === value) return true;
    if (!isDeepStrictEqual(before, value)) return false;
    // The next look is quicker.
    present.set(value.name, value);
    return true;
  }

  /** False: the server does not take them. */
  async #apply(kind: KeptKind, values: readonly (Policy | Pod)[]): Promise<boolean> {
    const resources = values.map((value) => ({ resource: asCase(kind, value as never) }) as unknown as ResourceMessage);
    try {
      await this.#client.apply({ resources });
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const [only] = values;
      if (only !== undefined && values.length === 1) this.#refuse(kind, only, messageOf(error));
      return false;
    }
    for (const value of values) {
      (this.#present[kind] as Map<string, Policy | Pod>).set(value.name, value);
      this.#refused.delete(keyOf(kind, value));
    }
    return true;
  }

  #refuse(kind: KeptKind, value: Policy | Pod, error: string): void {
    this.#refused.set(keyOf(kind, value), value);
    this.#logger.error({ [kind]: value.name, error }, "the server does not take what Kubernetes asks for");
  }

  /** The server has no others of what is marked. The same. */
  async removeOthers(kind: KeptKind, wanted: ReadonlyMap<string, unknown>): Promise<void> {
    const present: Map<string, Policy | Pod> = this.#present[kind];
    const others = [...present.values()].filter(({ name, managedBy: by }) => by === managedBy && !wanted.has(name));
    for (let start = 0; start < others.length; start += mostAtOnce) {
      const some = others.slice(start, start + mostAtOnce);
      await this.#client.delete({ resources: some.map(({ name }) => ({ kind, name })) });
      for (const { name } of some) present.delete(name);
    }
  }
}

function keyOf(kind: KeptKind, { name }: Policy | Pod): string {
  return `${kind} ${name}`;
}

/** Of what was asked for; not for want of a server. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof WeftError &&
    !["unavailable", "unauthenticated", "permission-denied", "internal"].includes(error.code)
  );
}
