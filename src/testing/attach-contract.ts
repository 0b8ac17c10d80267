import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AttachKind, type PlaceRequest, placeText } from "../agent/attach/kind.ts";
import type { Attachment } from "../agent/replica.ts";
import { WeftError } from "../base/errors.ts";
import type { PortPlace } from "../dataplane/index.ts";

/** A kind of attachment on a machine of its own. */
export interface AttachFixture<Request extends PlaceRequest, Place extends PortPlace> {
  readonly kind: AttachKind<Request, Place>;
  /** Requests to different places that are free. */
  readonly free: readonly [Request, Request];
  /** Another way to say the first of them. */
  readonly respelt: Request;
  /** Requests that can never be met. */
  readonly impossible: readonly Request[];
  /** What the machine holds, as text. */
  readonly text: () => string;
  /** Something that is not weft's takes the place. */
  readonly occupy: (request: Request) => void;
  /** The place goes away. */
  readonly destroy: (request: Request) => void;
}

/** The tests that every {@link AttachKind} passes. `open` gives a machine for each test. */
export function attachContract<Request extends PlaceRequest, Place extends PortPlace>(
  name: string,
  open: () => AttachFixture<Request, Place>,
): void {
  const test = (what: string, body: (fixture: AttachFixture<Request, Place>) => Promise<void>): void =>
    void it(what, () => body(open()));

  describe(`${name} keeps the contract of an attachment`, () => {
    test("finds a place that is free, and changes nothing", async ({ kind, free: [one, two], respelt, text }) => {
      const before = text();
      const keys: string[] = [];
      for (const request of [one, two, respelt]) keys.push((await kind.find(request, [], "try")).key);
      assert.equal(keys[0], keys[2]);
      assert.notEqual(keys[0], keys[1]);
      assert.equal(text(), before);
    });

    test("refuses what can never be, with what was attempted", async ({ kind, impossible }) => {
      for (const request of impossible)
        await assert.rejects(kind.find(request, [], "try"), (error) =>
          isRefusal(error, /^(invalid-argument|not-found)$/),
        );
    });

    test("refuses a place that something else has taken", async ({ kind, free: [one, two], occupy }) => {
      occupy(one);
      await assert.rejects(kind.find(one, [], "try"), (error) =>
        isRefusal(error, /^(already-exists|failed-precondition)$/),
      );
      await kind.find(two, [], "try");
    });

    test("refuses a place where an endpoint is attached, says which, and has it again once that is released", async (fixture) => {
      const { kind, free, respelt } = fixture;
      const attached = await attach(kind, free[0]);
      for (const request of [free[0], respelt])
        await assert.rejects(
          kind.find(request, [attached], "try"),
          (error) => isRefusal(error, /^already-exists$/) && /endpoint 00000000000a of network web/.test(`${error}`),
        );
      await kind.find(free[1], [attached], "try");
      await kind.find(free[0], [{ ...attached, state: "releasing" }], "try");
    });

    test("finds what is attached by each way to say where, also when the place is gone", async (fixture) => {
      const { kind, free, respelt, destroy } = fixture;
      const attached = await attach(kind, free[0]);
      for (const target of [free[0], respelt]) assert.equal(kind.at(target, [attached]), attached);
      assert.equal(kind.at(free[1], [attached]), undefined);
      destroy(free[0]);
      assert.equal(kind.at(free[0], [attached]), attached);
    });

    test("keeps on disk what tells the dataplane the same after a restart", async ({ kind, free: [one] }) => {
      const { place } = await kind.find(one, [], "try");
      const kept = place([]);
      const read = kind.current(JSON.parse(JSON.stringify(kept)));
      assert.deepEqual(read, kept);
      assert.equal(kind.nameOf(read), kind.nameOf(kept));
      assert.notEqual(placeText(read), "");
    });
  });
}

async function attach<Request extends PlaceRequest, Place extends PortPlace>(
  kind: AttachKind<Request, Place>,
  request: Request,
): Promise<Attachment> {
  const { place } = await kind.find(request, [], "try");
  return { id: "00000000000a", network: "web", place: place([]), allowedAddresses: [], state: "attached" };
}

function isRefusal(error: unknown, code: RegExp): boolean {
  assert.ok(error instanceof WeftError);
  assert.equal(error.attempted, "try");
  assert.match(error.code, code);
  return true;
}
