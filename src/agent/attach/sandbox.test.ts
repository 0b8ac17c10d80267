import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attachment } from "../replica.ts";
import type { SandboxRequest } from "./kind.ts";
import { sandboxAttachment } from "./sandbox.ts";

const request: SandboxRequest = { kind: "sandbox", key: "02:00:00:00:00:01", netns: "" };
const attached = (netns: string): Attachment => ({
  id: "00000000000a",
  network: "web",
  place: { kind: "sandbox", netns },
  allowedAddresses: [],
  state: "attached",
});

test("a sandbox is anywhere, and each MAC has its own", async () => {
  const one = await sandboxAttachment.find(request, [], "try");
  const other = await sandboxAttachment.find({ ...request, key: "02:00:00:00:00:02" }, [], "try");
  assert.notEqual(one.key, other.key);
  const place = one.place([]);
  assert.deepEqual(place, { kind: "sandbox", netns: "" });
  assert.equal(sandboxAttachment.nameOf(place), "netns");
});

test("it is found by where its engine put it", () => {
  const present = [attached(""), attached("/run/docker/netns/a")];
  assert.equal(sandboxAttachment.at(request, present), undefined);
  assert.equal(sandboxAttachment.at({ ...request, netns: "/run/docker/netns/a" }, present), present[1]);
});
