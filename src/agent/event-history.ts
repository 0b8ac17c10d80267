import { closeSync, openSync, readFileSync, renameSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { requirePrivate } from "../linux/private-files.ts";
import type { AgentEvent } from "./event-log.ts";

/** Octets of a file after which another is begun; the one before is kept. */
const fileLimit = 2 * 1024 * 1024;

const schema = z.object({
  time: z.number(),
  level: z.enum(["info", "warning", "error"]),
  kind: z.string(),
  object: z.object({
    kind: z.string(),
    tenant: z.string().optional(),
    network: z.string().optional(),
    key: z.string().optional(),
  }),
  message: z.string(),
});

/**
 * The agent's events on disk, a line of JSON each, in two files of bounded size: what happened before it was started again. Nothing
 * rests on them, so they are written as they come and not waited for; where the disk is full they are not there.
 */
export class EventHistory {
  readonly #file: string;
  readonly #former: string;
  #descriptor: number | undefined;
  #size = 0;

  constructor(dataDirectory: string) {
    this.#file = join(dataDirectory, "events.jsonl");
    this.#former = join(dataDirectory, "events.1.jsonl");
    for (const file of [this.#file, this.#former]) requirePrivate(file, `read the history of events ${file}`);
  }

  /** The last ones, oldest first. Lines that cannot be read, such as one that a power cut has broken off, are left out. */
  read(count: number): AgentEvent[] {
    const events: AgentEvent[] = [];
    for (const file of [this.#file, this.#former]) {
      if (events.length >= count) break;
      events.unshift(...readLines(file).slice(events.length - count));
    }
    return events;
  }

  add(event: AgentEvent): void {
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    try {
      if (this.#size + line.length > fileLimit) this.#beginAnother();
      this.#descriptor ??= this.#open();
      writeSync(this.#descriptor, line);
      this.#size += line.length;
    } catch {
      // What happened is in the log as well.
      this.close();
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    this.#size = statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0;
    return openSync(this.#file, "a", 0o600);
  }

  #beginAnother(): void {
    this.close();
    this.#size = 0;
    renameSync(this.#file, this.#former);
  }
}

function readLines(file: string): AgentEvent[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line) => {
    try {
      const parsed = schema.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data as AgentEvent] : [];
    } catch {
      return [];
    }
  });
}
