/**
 * Attacks of an endpoint on others: real frames, sent from a container on one node towards one on the same node and one on
 * another, first with the network's protection as it is by default, then without any: sent, delivered, and what the guard
 * counted.
 *
 *     npm run attacks
 */
import { renderTable } from "../../src/cli/table.ts";
import { attacksOf } from "./attacks.ts";
import { players, Stage } from "./stage.ts";

const count = 50;
const attacks = attacksOf(players.attacker, players.far);

async function outcomes(label: string, isProtected: boolean) {
  const stage = await Stage.make(label, isProtected ? {} : { antiSpoof: false, vlanTags: true });
  try {
    const results = [];
    for (const attack of attacks) results.push(await stage.play(attack, count));
    return results;
  } finally {
    await stage.close();
  }
}

const on = await outcomes("on", true);
const off = await outcomes("off", false);
const rows = attacks.map(({ name }, index) => ({ name, on: on[index], off: off[index] }));
process.stdout.write(
  renderTable(
    [
      { header: "attack", value: (row) => row.name },
      { header: "sent", value: () => count },
      { header: "delivered", value: (row) => row.on?.delivered },
      { header: "counted as", value: (row) => Object.keys(row.on?.dropped ?? {}).join(", ") },
      { header: "delivered without protection", value: (row) => row.off?.delivered },
    ],
    rows,
    { colour: false },
  ),
);
const failed = rows.filter((row) => row.on?.delivered !== 0 || row.off?.delivered === 0);
for (const { name } of failed) process.stderr.write(`not as it should be: ${name}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
