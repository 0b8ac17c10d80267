/**
 * How long a change of policies takes until the kernel of a node has it, with 10,000 endpoints that it speaks of, ten of them here:
 * another rule for a tenth of them, another label of one, and a policy of 10,000 rules. Medians of rounds.
 *
 *     scripts/node.sh bench/policy-change.ts [--rounds 5]
 */
import { parseArgs } from "node:util";
import { ip } from "../src/base/ip.ts";
import type { NodeDataplane } from "../src/dataplane/index.ts";
import { formatProblem } from "../src/model/index.ts";
import { parsePolicy } from "../src/model/policy/index.ts";
import { Stage } from "../test/attacks/stage.ts";
import { settled } from "../test/support/underlay.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const members = 10_000;

const stage = await Stage.make("change", {});
const dataplane = stage.dataplanes[0] as NodeDataplane;

function put(draft: object): void {
  const parsed = parsePolicy({ name: "bench", tenant: "blue", ...draft });
  if (!parsed.ok) throw new TypeError(parsed.error.map(formatProblem).join("; "));
  dataplane.policies.put(parsed.value);
}

function putMember(number: number, label: string): void {
  dataplane.policies.putMember({
    id: (0x100_0000 + number).toString(16).padStart(12, "0"),
    tenant: "blue",
    network: "blue-net",
    ips: [ip(`10.${1 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`)],
    labels: { app: label },
  });
}

const allow = (app: string) => ({ direction: "ingress", action: "allow", peers: [{ endpoints: `app=${app}` }] });
const manyRules = (first: number) => ({
  rules: Array.from({ length: 10_000 }, (_, number) => ({
    direction: "ingress",
    action: "allow",
    peers: [{ subnet: `172.16.${number >> 8}.${number & 255}/32` }],
    ports: [{ protocol: "tcp", ports: [first + number] }],
  })),
});

const changes: Readonly<Record<string, (round: number) => void>> = {
  "10,000 endpoints come, and a policy that allows a tenth of them": (round) => {
    for (let number = 0; number < members; number++) putMember(number, `a${(number + round) % 10}`);
    put({ rules: [allow("a1")] });
  },
  "the policy allows another tenth": (round) => put({ rules: [allow(`a${2 + (round % 8)}`)] }),
  "one endpoint has another label": (round) => putMember(round, `b${round}`),
  "a policy of 10,000 rules": (round) => put(manyRules(1 + round)),
};

try {
  const times = new Map<string, number[]>();
  for (let round = 0; round < Number(options.rounds); round++)
    for (const [name, change] of Object.entries(changes)) {
      change(round);
      const began = performance.now();
      await dataplane.changed("blue");
      times.set(name, [...(times.get(name) ?? []), performance.now() - began]);
      await settled(dataplane);
    }
  const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
  console.log(
    table([["change", "ms until in place"], ...Array.from(times, ([name, each]) => [name, median(each).toFixed(0)])]),
  );
} finally {
  await stage.close();
}
