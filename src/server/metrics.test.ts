import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { silentLogger } from "../base/logger.ts";
import { MemoryStore } from "../store/index.ts";
import type { Conversations } from "./conversations.ts";
import { Ledger } from "./ledger.ts";
import { Metrics } from "./metrics.ts";

test("what takes a look at each network on each of its nodes is counted once for a scrape", async (t) => {
  const ledger = await Ledger.open({ store: new MemoryStore(), clock: new ManualClock(), logger: silentLogger });
  t.after(() => ledger.close());
  let looks = 0;
  ledger.readiness.totals = () => ({ networks: ++looks, nodes: 20 + looks, changing: 30 + looks });
  const metrics = new Metrics(ledger, { refused: 0 } as Conversations);
  for (const scrape of [1, 2]) {
    const lines = (await metrics.text()).split("\n").filter((line) => /^weft_server_.*(behind|changing) /.test(line));
    assert.deepEqual(lines, [
      `weft_server_networks_behind ${scrape}`,
      `weft_server_nodes_behind ${20 + scrape}`,
      `weft_server_networks_changing ${30 + scrape}`,
    ]);
  }
});
