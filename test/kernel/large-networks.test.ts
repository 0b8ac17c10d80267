/** A network of many endpoints that comes to a node: it comes in parts, and what else happens there does not wait for it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { claim } from "../../src/testing/claims.ts";
import { createNetworks, idle, testLab, theWholeFile, until } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");
const file = theWholeFile();
const count = 8_000;
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "small", tenant: "one", subnets: ["10.1.0.0/24"], vni: 100 },
  { name: "large", tenant: "other", subnets: ["10.8.0.0/16"], vni: 200 },
]);
for (const name of ["a", "b", "c"]) lab.addContainer(name);
await lab.stop("h2");
await claim(lab, { host: "h2", network: "large", first: 1, last: count, parallel: 32 });

/** How many endpoints of the large network h1 has; `undefined`: it does not host it. */
async function received(): Promise<number | undefined> {
  const { networks } = await lab.agent("h1").getStatus({});
  return networks.find(({ name }) => name === "large")?.remoteEndpoints;
}

/** Attaches the first container; whether others came and went while a part of the network was there. */
async function isSeenComing(): Promise<boolean> {
  let isHere = false;
  const first = lab.attach("a", "h1", "large").then(async () => {
    isHere = true;
    assert.equal(await received(), count);
  });
  let between = 0;
  await lab.attach("b", "h1", "small");
  while (!isHere) {
    const { networks, inSync } = await lab.agent("h1").getStatus({});
    const have = networks.find(({ name }) => name === "large")?.remoteEndpoints ?? 0;
    if (have > 0 && have < count) {
      between++;
      assert.ok(!inSync, `in sync with ${have} of ${count}`);
    }
    await lab.detach("b", "h1", "small");
    await lab.attach("b", "h1", "small");
  }
  await first;
  return between > 0;
}

test("the first container there is told when all has come; others come and go meanwhile", async () => {
  // All may have come before this process was told of a part.
  while (!(await isSeenComing())) {
    await lab.detach("b", "h1", "small");
    await lab.detach("a", "h1", "large");
    await until(async () => assert.equal(await received(), undefined));
  }
  await idle(lab, "h1");
});

test("an agent that dies while it comes begins anew, and nothing of it is left", async () => {
  await lab.detach("a", "h1", "large");
  await until(async () => assert.equal(await received(), undefined));
  const isAttachedAndKilled = async (): Promise<boolean> => {
    const attached = lab.attach("a", "h1", "large").then(
      () => true,
      () => false,
    );
    await until(async () => assert.ok(((await received()) ?? 0) > 0));
    lab.kill("h1");
    return attached;
  };
  // All may have come before this process was told of a part.
  while (await isAttachedAndKilled()) {
    await lab.startAgent("h1");
    await lab.detach("a", "h1", "large");
    await until(async () => assert.equal(await received(), undefined));
  }
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.equal(await received(), undefined);
  await lab.attach("c", "h1", "large");
  assert.equal(await received(), count);
});
