import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { KernelObject, Problems } from "../../dataplane/index.ts";
import type { Attachment, Replica } from "../replica.ts";

const writeAgain = seconds(5);

/** Brings attachments to disk as they are in memory. */
export class AttachmentWriter {
  readonly #replica: Pick<Replica, "putAttachment" | "deleteAttachment">;
  readonly #attachments: Map<string, Attachment>;
  readonly #problems: Problems;
  readonly #clock: Clock;
  /** Ids of those that are otherwise on disk. */
  readonly #unwritten = new Set<string>();
  #cancel: () => void = () => {};

  constructor(options: {
    readonly replica: Pick<Replica, "putAttachment" | "deleteAttachment">;
    readonly attachments: Map<string, Attachment>;
    readonly problems: Problems;
    readonly clock: Clock;
  }) {
    this.#replica = options.replica;
    this.#attachments = options.attachments;
    this.#problems = options.problems;
    this.#clock = options.clock;
  }

  /** A claim is on disk before it is acted upon: throws, and leaves all as it was, where it cannot be. */
  put(attachment: Attachment): void {
    this.#replica.putAttachment(attachment);
    this.#attachments.set(attachment.id, attachment);
    this.#unwritten.delete(attachment.id);
    // The disk has room.
    if (this.#unwritten.size > 0) this.#write();
  }

  /** What has become of an attachment anyway, whatever the disk does: that follows as soon as it can. */
  keep(attachment: Attachment): void {
    this.#attachments.set(attachment.id, attachment);
    this.#unwritten.add(attachment.id);
    this.#write();
  }

  /** It is gone anyway. */
  remove(id: string): void {
    this.#attachments.delete(id);
    this.#unwritten.add(id);
    this.#write();
  }

  /** The agent ends: what is not on disk yet has one more chance. */
  close(): void {
    if (this.#unwritten.size > 0) this.#write();
    this.#cancel();
  }

  #write(): void {
    this.#cancel();
    try {
      for (const id of this.#unwritten) {
        const attachment = this.#attachments.get(id);
        if (attachment === undefined) this.#replica.deleteAttachment(id);
        else this.#replica.putAttachment(attachment);
        this.#unwritten.delete(id);
      }
      this.#problems.cleared(records);
    } catch (error) {
      this.#problems.failed(records, error instanceof Error ? error : new Error(messageOf(error)));
      this.#cancel = this.#clock.after(writeAgain, () => this.#write());
    }
  }
}

const records: KernelObject = { kind: "records of attachments" };
