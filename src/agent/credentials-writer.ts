import type { Credentials } from "../api/clients.ts";
import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { KernelObject, Problems } from "../dataplane/index.ts";
import { saveCredentials } from "./identity-files.ts";

const saveAgain = seconds(5);

/** Brings the node's certificate to disk. One that the disk does not take yet is used all the same, and written later. */
export class CredentialsWriter {
  readonly #directory: string;
  readonly #object: KernelObject;
  readonly #problems: Problems;
  readonly #clock: Clock;
  #cancel: () => void = () => {};

  constructor(options: {
    readonly directory: string;
    readonly node: string;
    readonly problems: Problems;
    readonly clock: Clock;
  }) {
    this.#directory = options.directory;
    this.#object = { kind: "certificate of node", key: options.node };
    this.#problems = options.problems;
    this.#clock = options.clock;
  }

  save(credentials: Credentials): void {
    this.#cancel();
    try {
      saveCredentials(this.#directory, credentials);
      this.#problems.cleared(this.#object);
    } catch (error) {
      this.#problems.failed(this.#object, error instanceof Error ? error : new Error(messageOf(error)));
      this.#cancel = this.#clock.after(saveAgain, () => this.save(credentials));
    }
  }

  close(): void {
    this.#cancel();
  }
}
