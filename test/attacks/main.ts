/**
 * Attacks of an endpoint on others: real frames, sent from a container on one node towards one on the same node and one on
 * another, first with the network's protection as it is by default, then without any: sent, delivered, and what the guard
 * counted.
 *
 *     npm run attacks
 */
import { renderTable } from "../../src/cli/table.ts";
import { type Attack, attacksOf, floodsOf } from "./attacks.ts";
import { players, Stage } from "./stage.ts";

/** `passes`: how many of them the limit lets through. */
interface Row {
  readonly attack: Attack;
  readonly count: number;
  readonly passes: number;
}

const attacks: readonly Row[] = [
  ...attacksOf(players.attacker, players.far).map((attack) => ({ attack, count: 50, passes: 0 })),
  // They may be of several seconds.
  ...floodsOf(players.attacker).map((attack) => ({ attack, count: 400, passes: 200 })),
];
const stormControl = { port: 30, network: 30 };

async function outcomes(label: string, isProtected: boolean) {
  const open = { antiSpoof: false, vlanTags: true, stormControl: { port: 0, network: 0 } };
  const stage = await Stage.make(label, isProtected ? { stormControl } : open);
  try {
    const results = [];
    for (const { attack, count } of attacks) results.push(await stage.play(attack, count));
    return results;
  } finally {
    await stage.close();
  }
}

const on = await outcomes("on", true);
const off = await outcomes("off", false);
const rows = attacks.map((row, index) => ({ ...row, on: on[index], off: off[index] }));
process.stdout.write(
  renderTable(
    [
      { header: "attack", value: (row) => row.attack.name },
      { header: "sent", value: (row) => row.count },
      { header: "delivered", value: (row) => row.on?.delivered },
      { header: "counted as", value: (row) => Object.keys(row.on?.dropped ?? {}).join(", ") },
      { header: "delivered without protection", value: (row) => row.off?.delivered },
    ],
    rows,
    { colour: false },
  ),
);
const failed = rows.filter(
  ({ on, off, passes, attack }) =>
    on === undefined ||
    on.delivered > passes ||
    on.dropped[attack.reason] === undefined ||
    (off?.delivered ?? 0) <= passes,
);
for (const {
  attack: { name },
} of failed)
  process.stderr.write(`not as it should be: ${name}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
