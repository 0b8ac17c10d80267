import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type PluginRequest, parseRequest } from "./request.ts";

/** What plugin.c calls it, beside the agent's socket. */
const folderName = "cni-deleted";
const finished = /^[0-9a-f]{16}$/;

/**
 * What was asked for while no agent ran. It is acted upon before any other call: the runtime may add the same container again, and
 * what stands here is older.
 */
export class DeletedMeanwhile {
  readonly #folder: string;
  readonly #act: (request: PluginRequest) => Promise<unknown>;
  readonly #logger: Logger;
  #last: Promise<void> = Promise.resolve();

  constructor(runDirectory: string, act: (request: PluginRequest) => Promise<unknown>, logger: Logger) {
    this.#folder = join(runDirectory, folderName);
    this.#act = act;
    this.#logger = logger;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    // What an earlier plugin did not finish, its runtime was not told to be done.
    for (const name of readdirSync(this.#folder)) if (!finished.test(name)) this.#remove(name);
  }

  /** Resolves when all is done that is written down by now. */
  catchUp(): Promise<void> {
    this.#last = this.#last.then(() => this.#actUponAll());
    return this.#last;
  }

  async #actUponAll(): Promise<void> {
    for (const name of this.#names()) {
      try {
        await this.#act(parseRequest(readFileSync(join(this.#folder, name))));
      } catch (error) {
        // As it would have failed then; its own plugin may have taken it away, and asked again.
        const message = "a container that was deleted while no agent ran: not all was done";
        this.#logger.warn({ file: name, error: messageOf(error) }, message);
      }
      this.#remove(name);
    }
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder).filter((name) => finished.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#logger.warn({ folder: this.#folder, error: messageOf(error) }, "cannot read what was deleted");
      return [];
    }
  }

  #remove(name: string): void {
    try {
      rmSync(join(this.#folder, name), { force: true });
    } catch (error) {
      this.#logger.warn({ file: name, error: messageOf(error) }, "cannot remove what was deleted");
    }
  }
}
