/** Faults of the lab, of the kinds that are quickly made; the others are tried in test/long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { breakLab, mendLab, readBroken } from "../../src/lab/faults/index.ts";
import { inLab, weft, weftDone, weftJson } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { kernelNeeds, testFaults } from "../support/lab-faults.ts";

await fileRequires("quick processes");
const groups: readonly string[] = ["underlay", "firewalls", "containers", "rules"];

testFaults(
  (fault) => groups.includes(fault.group) && kernelNeeds(fault).length === 0,
  (lab) => {
    test("as a person types it: list, break, again, mend, and again", async () => {
      const name = ["--name", lab().names.lab];
      assert.match(
        await weftDone("lab", "break", "container-firewall", ...name),
        /learn: .*lesson container-firewall\n/,
      );
      const rows = (await weftJson(["lab", "list", ...name])) as { readonly name: string; readonly state: string }[];
      assert.deepEqual(
        rows.filter(({ state }) => state === "broken").map((row) => row.name),
        ["container-firewall"],
      );
      const again = await weft(["lab", "break", "loss", ...name]);
      assert.equal(again.status, 1);
      assert.match(again.complaints, /container-firewall is broken\n {2}try: .*weft lab mend --name/);
      assert.equal(await weftDone("lab", "mend", ...name), "container-firewall mended\n");
      assert.match(await weftDone("lab", "mend", ...name), /^nothing is broken/);
      const unknown = await weft(["lab", "break", "gremlins", ...name]);
      assert.equal(unknown.status, 1);
      assert.match(unknown.complaints, /no fault gremlins\n {2}try: see them with: weft lab list/);
    });

    test("what a break that failed half-way has done is mended", async () => {
      await inLab(lab(), "h2", "ip", "link", "set", "eth0", "down");
      await assert.rejects(breakLab(lab(), "asymmetric-underlay-route"), /run in .*h2: ip route/);
      assert.equal(readBroken(lab())?.fault, "asymmetric-underlay-route");
      assert.match(await inLab(lab(), "server", "nft", "list", "tables"), /inet firewall/);
      assert.equal((await mendLab(lab()))?.name, "asymmetric-underlay-route");
      assert.doesNotMatch(await inLab(lab(), "server", "nft", "list", "tables"), /inet firewall/);
      assert.match(await inLab(lab(), "server", "sysctl", "net.ipv4.ip_forward"), /= 0/);
      await inLab(lab(), "h2", "ip", "link", "set", "eth0", "up");
      await inLab(lab(), "h2", "ip", "address", "replace", "2001:db8::2/64", "dev", "eth0", "nodad");
    });
  },
);
