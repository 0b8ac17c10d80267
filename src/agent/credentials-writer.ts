import type { Credentials } from "../api/clients.ts";
import type { Clock } from "../base/clock.ts";
import type { Problems } from "../dataplane/index.ts";
import { DiskWrite } from "./disk-write.ts";
import { saveCredentials } from "./identity-files.ts";

/** Brings the node's certificate to disk. One that the disk does not take yet is used all the same, and written later. */
export class CredentialsWriter {
  readonly #disk: DiskWrite;
  #credentials: Credentials | undefined;

  constructor(options: {
    readonly directory: string;
    readonly node: string;
    readonly problems: Problems;
    readonly clock: Clock;
  }) {
    const { directory, node, problems, clock } = options;
    this.#disk = new DiskWrite({
      object: { kind: "certificate of node", key: node },
      problems,
      clock,
      write: () => {
        if (this.#credentials !== undefined) saveCredentials(directory, this.#credentials);
      },
    });
  }

  save(credentials: Credentials): void {
    this.#credentials = credentials;
    this.#disk.try();
  }

  close(): void {
    this.#disk.close();
  }
}
