/** What the dataplane tells of its work, for the operator's event log. */
export interface DataplaneEvent {
  readonly level: "info" | "warning" | "error";
  readonly kind: "adjusted" | "repaired" | "failed" | "recovered" | "resynchronised";
  /** `FDB entry 02:… of network blue`. */
  readonly object: string;
  readonly message: string;
}

export type Report = (event: DataplaneEvent) => void;

/** One kernel object that is not as it should be. */
export interface Problem {
  readonly object: string;
  readonly error: Error;
  /** How often it was tried. */
  readonly attempts: number;
}

/** The objects that are not as they should be; each is reported once when it fails and once when it is well again. */
export class Problems {
  readonly #problems = new Map<string, Problem>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  failed(object: string, error: Error): void {
    const before = this.#problems.get(object);
    this.#problems.set(object, { object, error, attempts: (before?.attempts ?? 0) + 1 });
    if (before?.error.message !== error.message)
      this.#report({ level: "error", kind: "failed", object, message: error.message });
  }

  cleared(object: string): void {
    if (!this.#problems.delete(object)) return;
    this.#report({ level: "info", kind: "recovered", object, message: `${object} is as it should be again` });
  }

  /** Objects that nobody wants any more have no problems. */
  forget(isGone: (object: string) => boolean): void {
    for (const object of this.#problems.keys()) if (isGone(object)) this.#problems.delete(object);
  }

  get(object: string): Problem | undefined {
    return this.#problems.get(object);
  }

  get size(): number {
    return this.#problems.size;
  }

  list(): readonly Problem[] {
    return [...this.#problems.values()];
  }
}
