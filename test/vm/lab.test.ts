/** The lab with virtual machines, by its own commands. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lab } from "../../src/lab/lab.ts";
import { processesIn } from "../../src/linux/index.ts";
import { namespaceNames, pings, removeLab, theWholeFile, uniqueName, until, weft } from "../support/cluster.ts";

const file = theWholeFile();
const name = uniqueName();
file.after(() => removeLab(name));

async function lab(...words: readonly string[]): Promise<string> {
  const { status, output, complaints } = await weft(["lab", ...words]);
  assert.equal(status, 0, `weft lab ${words.join(" ")}: ${complaints}`);
  return output;
}

test("a lab comes up with two machines, one of which moves to another host, and goes", async () => {
  assert.match(
    await lab("up", "--vm", "--name", name),
    new RegExp(`machine vm1 on h1: 10\\.0\\.0\\.3/24(.|\\s)*weft lab move --name ${name} vm1 h3`),
  );
  const standing = Lab.open(name);
  using blue1 = standing.namespace("blue1");
  await until(async () => assert.ok(await pings(blue1, "10.0.0.3")));
  assert.match(
    await lab("move", "vm1", "h3", "--name", name),
    /^machine vm1 is on h3: moved in \d+ ms, and stood still for \d+ ms\n$/,
  );
  await until(async () => assert.ok(await pings(blue1, "10.0.0.3")));
  assert.match(await lab("status", "--name", name), new RegExp(`vm1 +running +\\d+ +${name}-h3 `));
  const again = await weft(["lab", "move", "vm1", "h3", "--name", name]);
  assert.match(again.complaints, /it is there already/);
  using host = standing.namespace("h3");
  assert.ok(processesIn(host).length > 1);
  await lab("down", "--name", name);
  assert.deepEqual(processesIn(host), []);
  assert.deepEqual(
    namespaceNames().filter((each) => each.startsWith(name)),
    [],
  );
});
