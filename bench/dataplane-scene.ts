import { execFileSync } from "node:child_process";
import { systemClock } from "../src/base/clock.ts";
import type { IpAddress } from "../src/base/ip.ts";
import { NodeDataplane } from "../src/dataplane/index.ts";
import { linuxKernel, linuxNamespace } from "../src/dataplane/linux-kernel.ts";
import { NetworkNamespace } from "../src/linux/index.ts";

/** The real dataplane of a node whose host is the named namespace. */
export async function withDataplane<Value>(
  { host, instance, vtep }: { readonly host: string; readonly instance: string; readonly vtep: IpAddress },
  work: (dataplane: NodeDataplane) => Promise<Value>,
): Promise<Value> {
  using underlay = NetworkNamespace.openNamed(host);
  const dataplane = new NodeDataplane({
    kernel: linuxKernel,
    instance,
    underlay: linuxNamespace(underlay),
    clock: systemClock,
    report: () => {},
  });
  try {
    underlay.run(() => execFileSync("ip", ["link", "set", "lo", "up"]));
    await dataplane.setUnderlay([vtep], undefined);
    await dataplane.start();
    return await work(dataplane);
  } finally {
    await dataplane.close();
  }
}

/** Resolves when the kernel has what is wanted; rejects with what is the matter. */
export async function untilInSync(dataplane: NodeDataplane): Promise<void> {
  await dataplane.changed();
  while (!dataplane.inSync) {
    const [problem] = dataplane.problems.list();
    if (problem !== undefined) throw problem.error;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
