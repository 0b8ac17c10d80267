import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { CniError, errorCode } from "./error.ts";
import { type PluginRequest, parseRequest } from "./request.ts";

/** What plugin.c calls it, beside the agent's socket. */
const folderName = "cni-deleted";
const finished = /^[0-9a-f]{16}$/;
const pause = seconds(30);

/** A call that has its turn among those about the same attachment. */
export interface Begun {
  /** The same for calls about the same attachment. */
  readonly key: string;
  readonly done: Promise<unknown>;
}

interface Written {
  readonly key: string;
  /** When it is done, or has failed: why. */
  readonly settled: Promise<string | undefined>;
  hasFailed: boolean;
}

export interface DeletedOptions {
  /** Where the agent's socket is. */
  readonly runDirectory: string;
  /** Throws when the request can never be done, as it cannot be read. */
  readonly begin: (request: PluginRequest) => Begun;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * What was asked for while no agent ran. Its runtime was told that it is done and will not ask again: it stays until it is done.
 * It comes before any other call about the same attachment, since what stands here is older, and holds up no other.
 */
export class DeletedMeanwhile {
  readonly #options: DeletedOptions;
  readonly #folder: string;
  /** By the names of the files. */
  readonly #written = new Map<string, Written>();

  constructor(options: DeletedOptions) {
    this.#options = options;
    this.#folder = join(options.runDirectory, folderName);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    // What an earlier plugin did not finish, its runtime was not told to be done.
    for (const name of readdirSync(this.#folder)) if (!finished.test(name)) this.#remove(name);
  }

  /** Begins what has been written down by now. What is asked for from here on comes after it. */
  catchUp(): void {
    for (const name of this.#names()) if (!this.#written.has(name)) this.#attempt(name);
  }

  /**
   * Why the attachment cannot be made yet: something of it that was written down fails, also when begun anew. Done after the
   * attachment is made, it would take away the new one. What is settled by then was begun when this returns.
   */
  async obstacle(key: string): Promise<CniError | undefined> {
    const own = [...this.#written].filter(([, written]) => written.key === key);
    for (const [name, { hasFailed }] of own) if (hasFailed) this.#attempt(name);
    for (const [name] of own) {
      const failure = await this.#written.get(name)?.settled;
      if (failure !== undefined)
        return new CniError(
          errorCode.tryAgainLater,
          `it was deleted while no agent ran, and that could not be done yet: ${failure}`,
          `if nothing is left to be done: rm ${join(this.#folder, name)}`,
        );
    }
    return undefined;
  }

  #attempt(name: string): void {
    const { begin, logger } = this.#options;
    const before = this.#written.get(name);
    let octets: Buffer | undefined;
    try {
      octets = this.#read(name);
    } catch (error) {
      // What is not known yet is read again with the next call.
      if (before !== undefined) this.#tryLater(name, before);
      logger.warn({ file: name, error: messageOf(error) }, "cannot read what was deleted while no agent ran");
      return;
    }
    this.#written.delete(name);
    if (octets === undefined) return;
    let begun: Begun;
    try {
      begun = begin(parseRequest(octets));
    } catch (error) {
      logger.warn(
        { file: name, error: messageOf(error) },
        "what was deleted while no agent ran makes no sense; dropped",
      );
      this.#remove(name);
      return;
    }
    const { key, done } = begun;
    const settled = done.then(
      () => {
        // One that cannot be removed must not be done again: the attachment may have been made again.
        if (this.#remove(name)) this.#written.delete(name);
        return undefined;
      },
      (error: unknown) => {
        written.hasFailed = true;
        this.#tryLater(name, written);
        logger.warn(
          { file: name, error: messageOf(error) },
          "a container was deleted while no agent ran: not done yet",
        );
        return messageOf(error);
      },
    );
    const written: Written = { key, settled, hasFailed: false };
    this.#written.set(name, written);
  }

  #tryLater(name: string, written: Written): void {
    this.#options.clock.after(pause, () => {
      if (this.#written.get(name) === written) this.#attempt(name);
    });
  }

  /** `undefined`: its own plugin has taken it away, and asked again. */
  #read(name: string): Buffer | undefined {
    try {
      return readFileSync(join(this.#folder, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder).filter((name) => finished.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#options.logger.warn({ folder: this.#folder, error: messageOf(error) }, "cannot read what was deleted");
      return [];
    }
  }

  #remove(name: string): boolean {
    try {
      rmSync(join(this.#folder, name), { force: true });
      return true;
    } catch (error) {
      this.#options.logger.warn({ file: name, error: messageOf(error) }, "cannot remove what was deleted");
      return false;
    }
  }
}
