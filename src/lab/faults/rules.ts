import type { Fault } from "./fault.ts";

const policy = "lockdown";

const policyDenies: Fault = {
  name: "policy-denies",
  group: "rules",
  title: "a policy of the blue tenant denies pings",
  needs: [],
  expected: [{ code: "policy-denies", host: "blue2", object: `rule no-ping of policy ${policy}` }],
  async break({ lab }) {
    const ports = [{ protocol: "icmp", types: [8] }];
    const rules = [{ name: "no-ping", direction: "ingress", action: "deny", ports }];
    const { revision } = await lab.admin.create({
      resources: [{ resource: { case: "policy", value: { name: policy, tenant: "blue", rules } } }],
    });
    for await (const _ of lab.admin.waitInPlace({ networks: ["blue-net"], revision }));
  },
  async mend({ lab }) {
    const { resources } = await lab.admin.list({ kind: "policy" });
    if (resources.some(({ resource }) => resource.case === "policy" && resource.value.name === policy))
      await lab.admin.delete({ resources: [{ kind: "policy", name: policy }] });
  },
  symptom: async (bench) => !(await bench.pings("blue1", "10.0.0.2")),
};

/** Outside of what the server gives. */
const ownAddress = "10.0.0.50";

const protectionDenies: Fault = {
  name: "antispoof-denies",
  group: "rules",
  title: "blue1 sends with an address that it gave itself, which its node does not let pass",
  needs: [],
  expected: [{ code: "endpoint-sends-what-is-not-its-own", host: "blue1", object: ownAddress }],
  break: async (bench) => void (await bench.sh("blue1", `ip address replace ${ownAddress}/24 dev eth0`)),
  mend: async (bench) => void (await bench.sh("blue1", `ip address del ${ownAddress}/24 dev eth0 2>/dev/null || :`)),
  symptom: async (bench) =>
    (await bench.succeeds("blue1", `ip -o address show dev eth0 | grep -qw ${ownAddress}`)) &&
    !(await bench.succeeds("blue1", `ping -n -q -c 3 -i 0.2 -W 1 -I ${ownAddress} 10.0.0.2`)),
};

export const ruleFaults: readonly Fault[] = [policyDenies, protectionDenies];
