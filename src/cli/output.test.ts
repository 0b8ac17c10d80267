import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { GetAgentStatusResponseSchema } from "../api/generated/weft/v1/agent_pb.js";
import { instant, plain } from "./output.ts";

test("messages become plain objects, whole numbers become numbers", () => {
  const status = plain(
    create(GetAgentStatusResponseSchema, {
      node: "h1",
      revision: 42n,
      endpoints: [{ endpoint: { id: "5f0c2a9be871", sequence: 3n }, state: "done" }],
    }),
  );
  assert.equal(status.revision, 42);
  assert.equal(status.endpoints[0]?.endpoint?.sequence, 3);
  assert.ok(!JSON.stringify(status).includes("$typeName"));
});

test("a number that JSON cannot hold exactly stays text", () => {
  assert.equal(plain({ revision: 2n ** 63n }).revision, "9223372036854775808");
});

test("moments are RFC 3339, and never is absent", () => {
  assert.equal(instant(1_767_225_600_000n), "2026-01-01T00:00:00.000Z");
  assert.equal(instant(0n), undefined);
});
