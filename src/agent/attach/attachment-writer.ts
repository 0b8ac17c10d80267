import type { Clock } from "../../base/clock.ts";
import type { KernelObject, Problems } from "../../dataplane/index.ts";
import { DiskWrite } from "../disk-write.ts";
import type { Attachment, Replica } from "../replica.ts";

/** Brings attachments to disk as they are in memory. */
export class AttachmentWriter {
  readonly #replica: Pick<Replica, "putAttachment" | "deleteAttachment">;
  readonly #attachments: Map<string, Attachment>;
  readonly #disk: DiskWrite;
  /** Ids of those that are otherwise on disk. */
  readonly #unwritten = new Set<string>();

  constructor(options: {
    readonly replica: Pick<Replica, "putAttachment" | "deleteAttachment">;
    readonly attachments: Map<string, Attachment>;
    readonly problems: Problems;
    readonly clock: Clock;
  }) {
    this.#replica = options.replica;
    this.#attachments = options.attachments;
    const { problems, clock } = options;
    this.#disk = new DiskWrite({ object: records, problems, clock, write: () => this.#writeUnwritten() });
  }

  /** A claim is on disk before it is acted upon: throws, and leaves all as it was, where it cannot be. */
  put(attachment: Attachment): void {
    this.#replica.putAttachment(attachment);
    this.#attachments.set(attachment.id, attachment);
    this.#unwritten.delete(attachment.id);
    // The disk has room.
    if (this.#unwritten.size > 0) this.#disk.try();
  }

  /** What has become of an attachment anyway, whatever the disk does: that follows as soon as it can. */
  keep(attachment: Attachment): void {
    this.#attachments.set(attachment.id, attachment);
    this.#unwritten.add(attachment.id);
    this.#disk.try();
  }

  /** It is gone anyway. */
  remove(id: string): void {
    this.#attachments.delete(id);
    this.#unwritten.add(id);
    this.#disk.try();
  }

  close(): void {
    this.#disk.close();
  }

  #writeUnwritten(): void {
    for (const id of this.#unwritten) {
      const attachment = this.#attachments.get(id);
      if (attachment === undefined) this.#replica.deleteAttachment(id);
      else this.#replica.putAttachment(attachment);
      this.#unwritten.delete(id);
    }
  }
}

const records: KernelObject = { kind: "records of attachments" };
