import type { z } from "zod";
import type { Clock } from "../../../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../../../base/duration.ts";
import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { sleep } from "../sleep.ts";
import { type ApiClient, ApiError, isGone } from "./client.ts";

/** As all objects of Kubernetes are. */
export interface Named {
  readonly metadata: { readonly name: string; readonly namespace: string };
}

export interface CollectionOptions<Item extends Named> {
  readonly client: ApiClient;
  /** `/api/v1/pods` */
  readonly path: string;
  /** Which of its objects. */
  readonly parameters?: Readonly<Record<string, string>>;
  readonly schema: z.ZodType<Item>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Some of it changed, or it is complete for the first time. */
  readonly onChange: () => void;
}

const shortestPause = milliseconds(500);
const longestPause = seconds(5);

/**
 * The objects of one collection, as the API server has them: listed, then followed from that version on. A watch that ends is begun
 * again from the last version that it told of; one from a version that the server has forgotten by a list.
 */
export class Collection<Item extends Named> {
  readonly #options: CollectionOptions<Item>;
  #items = new Map<string, Item>();
  /** Of the last list or event. Absent: list anew. */
  #version: string | undefined;
  #isComplete = false;

  constructor(options: CollectionOptions<Item>) {
    this.#options = options;
  }

  /** By namespace and name: `shop/web-0`, or `/shop`. */
  get items(): ReadonlyMap<string, Item> {
    return this.#items;
  }

  /** It was listed once; from then on it is as of some moment, whatever becomes of the connection. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Follows it until `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger, path } = this.#options;
    let pause: Duration = shortestPause;
    while (!signal.aborted) {
      const began = clock.monotonic();
      try {
        if (this.#version === undefined) await this.#list(signal);
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (isGone(error)) this.#version = undefined;
        const hint = hintOf(error);
        logger.warn(
          { path, error: messageOf(error), ...(hint === "" ? {} : { try: hint }) },
          "the API server is asked again",
        );
      }
      // A watch that lasted is begun again at once.
      if (clock.monotonic() - began >= longestPause) pause = shortestPause;
      else {
        await sleep(clock, pause, signal);
        pause = Math.min(pause * 2, longestPause) as Duration;
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, path, parameters = {}, onChange } = this.#options;
    const { items, resourceVersion } = await client.list(path, parameters, signal);
    this.#items = new Map(items.flatMap((each) => this.#read(each) ?? []).map((item) => [keyOf(item), item]));
    this.#version = resourceVersion;
    this.#isComplete = true;
    onChange();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, path, parameters = {}, onChange } = this.#options;
    for await (const { type, object, resourceVersion } of client.watch(path, parameters, this.#version ?? "", signal)) {
      this.#version = resourceVersion;
      if (type === "BOOKMARK") continue;
      const item = this.#read(object);
      if (item === undefined) continue;
      if (type === "DELETED") this.#items.delete(keyOf(item));
      else this.#items.set(keyOf(item), item);
      onChange();
    }
  }

  /** One that cannot be read keeps no other from being so. */
  #read(object: unknown): Item | undefined {
    const { schema, logger, path } = this.#options;
    const read = schema.safeParse(object);
    if (read.success) return read.data;
    const issues = read.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ");
    logger.error({ path, error: issues }, "an object cannot be read and is left out");
    return undefined;
  }
}

function keyOf({ metadata: { namespace, name } }: Named): string {
  return `${namespace}/${name}`;
}

function hintOf(error: unknown): string {
  if (!(error instanceof ApiError)) return "";
  if (error.status === 401) return "see whether the token or certificate is good still";
  if (error.status === 403) return "allow it by a ClusterRole to get, list and watch";
  return "";
}
