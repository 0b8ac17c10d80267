/** The machine that unit tests of the dataplane run on answers and tells what Linux does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { observeKernel } from "../../src/testing/kernel/contract.ts";
import { FakeMachine } from "../../src/testing/kernel/machine.ts";
import { testNamespace } from "../support/namespaces.ts";

test("what is asked of the fake machine is answered and told as by Linux", async () => {
  using outer = testNamespace("outer");
  using inner = testNamespace("inner");
  const fake = new FakeMachine();
  for (const { name } of [outer, inner]) fake.createNamed(name);
  const names = [outer.name, inner.name] as const;
  assert.deepEqual(await observeKernel(fake, names), await observeKernel(linuxKernel, names));
});
