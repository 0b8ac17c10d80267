import { type NodeDataplane, nameOfObject } from "../../src/dataplane/index.ts";
import { type TestNamespace, testNamespace } from "./namespaces.ts";
import { patience } from "./patience.ts";

/** Hosts on one underlay, each a namespace with `eth0` at 10.99.0.N/24 and fd99::N/64, on a switch of their own. */
export interface Underlay {
  readonly hosts: readonly TestNamespace[];
  readonly switch: TestNamespace;
  [Symbol.dispose](): void;
}

export function makeUnderlay(count: number, mtu = 1500): Underlay {
  const fabric = testNamespace("switch");
  fabric.shell("ip link add sw0 type bridge mcast_snooping 0; ip link set sw0 up");
  const hosts = Array.from({ length: count }, (_, index) => {
    const host = testNamespace(`h${index + 1}`);
    fabric.shell(`
      ip link add h${index + 1} type veth peer name eth0 netns ${host.name}
      ip link set h${index + 1} master sw0 mtu ${mtu} up`);
    // New namespaces take some settings from the machine, which may be a router.
    host.shell(`
      sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
      ip link set lo up
      ip link set eth0 mtu ${mtu} up
      ip addr add 10.99.0.${index + 1}/24 dev eth0
      ip addr add fd99::${index + 1}/64 dev eth0 nodad`);
    return host;
  });
  return {
    hosts,
    switch: fabric,
    [Symbol.dispose]() {
      for (const host of hosts) host[Symbol.dispose]();
      fabric[Symbol.dispose]();
    },
  };
}

/** Waits until `condition` holds; fails with `what` when {@link patience} is at its end. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + patience;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits until the dataplane says that nothing is left to do. */
export async function settled(dataplane: NodeDataplane): Promise<void> {
  await eventually("the dataplane is in sync", () => dataplane.inSync).catch((failure: Error) => {
    throw new Error(
      `${failure.message}: ${dataplane.problems
        .list()
        .map(({ object, error }) => `${nameOfObject(object)}: ${error.message}`)
        .join("; ")}`,
    );
  });
}
