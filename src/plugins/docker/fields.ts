import { WeftError } from "../../base/errors.ts";

/** An object of JSON as Docker sends it: what is not set is left out, null or empty, which all read the same. */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;

  private constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  /** Throws unless it is empty or an object. */
  static parse(text: string): Fields {
    let value: unknown;
    try {
      value = text.trim() === "" ? {} : JSON.parse(text);
    } catch {
      value = undefined;
    }
    if (isObject(value)) return new Fields(value);
    throw new WeftError({
      code: "invalid-argument",
      attempted: "read a request of Docker's",
      reason: "it is no object of JSON",
    });
  }

  /** Of a list of objects. */
  static parseList(text: string): readonly Fields[] {
    return Fields.parse(`{"list":${text}}`).list("list");
  }

  /** Empty: it is not set. */
  text(name: string): string {
    const value = this.#values[name];
    return typeof value === "string" ? value : "";
  }

  /** 0: it is not set. */
  number(name: string): number {
    const value = this.#values[name];
    return typeof value === "number" ? value : 0;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  within(name: string): Fields {
    const value = this.#values[name];
    return new Fields(isObject(value) ? value : {});
  }

  list(name: string): readonly Fields[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter(isObject).map((each) => new Fields(each)) : [];
  }

  /** Those of a list that are texts. */
  texts(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
  }

  get names(): readonly string[] {
    return Object.keys(this.#values);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
