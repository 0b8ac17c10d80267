import assert from "node:assert/strict";
import { test } from "node:test";
import type { Agent } from "../../agent/agent.ts";
import { parseConfiguration } from "./configuration.ts";
import { parseEnvironment } from "./environment.ts";
import { verbs } from "./verbs.ts";

/** STATUS of network web where this keeps its endpoints from coming up. */
function status(obstacle: Error | undefined): Promise<string> {
  const agent = {
    attachments: { obstacle: (network: string) => (network === "web" ? obstacle : undefined) },
    desired: { networks: new Map(), ownBlocks: () => [] },
    serverState: { state: "connected", error: "" },
  };
  return verbs.STATUS({
    agent: agent as unknown as Agent,
    parameters: parseEnvironment({ CNI_COMMAND: "STATUS" }),
    configuration: parseConfiguration('{"cniVersion":"1.1.0","name":"web","type":"weft","network":"web"}'),
    boot: "",
    ofPods: false,
    signal: new AbortController().signal,
  });
}

test("STATUS tells what keeps the network's endpoints from coming up, whatever it is of", async () => {
  assert.equal(await status(undefined), "");
  const obstacle = new Error("make the namespace of tenant blue: no space left on device");
  await assert.rejects(status(obstacle), { name: "CniError", code: 51, message: obstacle.message });
});
