import type { Lab } from "./lab.ts";

/** Where a container of the scenario runs at first. */
export interface ScenarioContainer {
  readonly name: string;
  readonly network: string;
  readonly host: string;
}

/** Two tenants that use the same subnet, each with a network over the hosts. */
export const scenario = {
  subnets: ["10.0.0.0/24", "fd00:77::/64"],
  tenants: ["blue", "red"],
  networks: [
    { name: "blue-net", tenant: "blue", vni: 100 },
    { name: "red-net", tenant: "red", vni: 200 },
  ],
  containers: [
    { name: "blue1", network: "blue-net", host: "h1" },
    { name: "blue2", network: "blue-net", host: "h2" },
    { name: "red1", network: "red-net", host: "h1" },
    { name: "red2", network: "red-net", host: "h3" },
  ] satisfies ScenarioContainer[],
} as const;

/** Machines of the scenario, for those who want some. */
export const machines = [
  { name: "vm1", network: "blue-net", host: "h1" },
  { name: "vm2", network: "blue-net", host: "h2" },
] as const;

/** Makes tenants, networks and containers, and attaches these. */
export async function setScene(lab: Lab, progress: (step: string) => void): Promise<void> {
  progress(`tenants ${scenario.tenants.join(" and ")}, both with subnets ${scenario.subnets.join(" and ")}`);
  await lab.admin.create({
    resources: [
      ...scenario.tenants.map((name) => ({ resource: { case: "tenant" as const, value: { name } } })),
      ...scenario.networks.map((network) => ({
        resource: { case: "network" as const, value: { ...network, subnets: [...scenario.subnets] } },
      })),
    ],
  });
  for (const { name, network, host } of scenario.containers) {
    lab.addContainer(name);
    const { ips, mac } = await lab.attach(name, host, network);
    progress(`container ${name} on ${host}: ${ips.join(", ")} (${mac})`);
  }
}
