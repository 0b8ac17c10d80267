import { namedNamespacePath } from "../../linux/index.ts";
import type { Bench } from "./bench.ts";

interface ExtraContainer {
  readonly name: string;
  readonly host: string;
}

/** A network beside those of the lab, for faults that need another kind; it is there while the fault is. */
export interface ExtraNetwork {
  readonly name: string;
  readonly tenant: string;
  readonly vni: number;
  readonly mode: "l2" | "l3";
  readonly subnets: readonly string[];
  readonly encapsulation?: string;
  readonly gateways?: readonly string[];
  readonly egress?: boolean;
  readonly antiSpoof?: boolean;
  /** The first one is that whose packets are lost. */
  readonly containers: readonly [ExtraContainer, ...ExtraContainer[]];
}

/** Of layer 3: nodes route between blocks. */
export const routedNetwork: ExtraNetwork = {
  name: "routed-net",
  tenant: "blue",
  vni: 300,
  mode: "l3",
  subnets: ["10.8.0.0/16"],
  containers: [
    { name: "routed1", host: "h1" },
    { name: "routed2", host: "h2" },
  ],
};

export const greNetwork: ExtraNetwork = { ...routedNetwork, encapsulation: "gre" };
export const ipipNetwork: ExtraNetwork = { ...routedNetwork, encapsulation: "ipip" };

/** Of layer 2. RFC 7637 §3: lower VSIDs are reserved. */
export const nvgreNetwork: ExtraNetwork = { ...routedNetwork, mode: "l2", encapsulation: "nvgre", vni: 4400 };

/** Whose endpoints reach the world by their node. */
export const worldNetwork: ExtraNetwork = {
  name: "world-net",
  tenant: "blue",
  vni: 301,
  mode: "l2",
  subnets: ["10.9.0.0/24"],
  gateways: ["10.9.0.254"],
  egress: true,
  containers: [{ name: "world1", host: "h1" }],
};

/** Whose endpoints may say of themselves what they like. */
export const openNetwork: ExtraNetwork = {
  name: "open-net",
  tenant: "blue",
  vni: 302,
  mode: "l2",
  subnets: ["10.7.0.0/24"],
  antiSpoof: false,
  containers: [
    { name: "open1", host: "h1" },
    { name: "open2", host: "h2" },
    { name: "open3", host: "h1" },
  ],
};

/** Makes the network and attaches its containers; everybody knows of them then. */
export async function addNetwork(bench: Bench, network: ExtraNetwork): Promise<void> {
  const { containers, ...value } = network;
  const { lab } = bench;
  await lab.admin.create({
    resources: [
      {
        resource: {
          case: "network",
          value: { ...value, subnets: [...value.subnets], gateways: [...(value.gateways ?? [])] },
        },
      },
    ],
  });
  for (const { name, host } of containers) {
    lab.addContainer(name);
    const { ips } = await lab.attach(name, host, network.name);
    bench.note(`address of ${name}`, ips[0] ?? "");
  }
  const { revision } = await lab.admin.getStatus({});
  for await (const _ of lab.admin.waitInPlace({ networks: [network.name], revision }));
}

/** Takes away what there is of the network. */
export async function removeNetwork(bench: Bench, { name, containers }: ExtraNetwork): Promise<void> {
  const { lab } = bench;
  for (const { name: container, host } of containers) {
    const netns = namedNamespacePath(lab.names.container(container));
    const { endpoints } = await lab.agent(host).getStatus({});
    if (endpoints.some((each) => each.netns === netns)) await lab.detach(container, host, name);
    lab.removeContainer(container);
  }
  const { resources } = await lab.admin.list({ kind: "network" });
  if (resources.some(({ resource }) => resource.case === "network" && resource.value.name === name))
    await lab.admin.delete({ resources: [{ kind: "network", name }] });
}

/** The network is there, and its first container does not reach the second. */
export async function isUnreachable(bench: Bench, { containers }: ExtraNetwork): Promise<boolean> {
  const [from, to = from] = containers;
  return bench.has(from.name) && !(await bench.pings(from.name, bench.addressOf(to.name)));
}
