/** The machine that unit tests of the dataplane run on answers and tells what Linux does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cidr } from "../../src/base/cidr.ts";
import type { Kernel } from "../../src/dataplane/kernel.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { encapsulations, type TunnelEncapsulation } from "../../src/model/encapsulation.ts";
import { networkSettings } from "../../src/testing/desired.ts";
import { observeKernel } from "../../src/testing/kernel/contract.ts";
import { FakeMachine } from "../../src/testing/kernel/machine.ts";
import { observeFilters } from "../../src/testing/kernel/nft-contract.ts";
import { observeShaping } from "../../src/testing/kernel/shaping-contract.ts";
import { observeTunnels } from "../../src/testing/kernel/tunnel-contract.ts";
import { sceneVteps } from "../../src/testing/scene.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";

type Observe = (kernel: Kernel, names: readonly [string, string]) => Promise<string[]>;

async function assertAsLinux(observe: Observe): Promise<void> {
  using outer = testNamespace("outer");
  using inner = testNamespace("inner");
  const fake = new FakeMachine();
  for (const { name } of [outer, inner]) fake.createNamed(name);
  const names = [outer.name, inner.name] as const;
  assert.deepEqual(await observe(fake, names), await observe(linuxKernel, names));
}

test("what is asked of the fake machine is answered and told as by Linux", () => assertAsLinux(observeKernel));

test("what is asked of classes and of what leads to them is answered as by Linux", () => assertAsLinux(observeShaping));

test("what is told of nftables, be it of what was so already", requires("nft-inet"), () =>
  assertAsLinux(observeFilters),
);

const [ipv4, ipv6] = [cidr("10.0.0.0/24"), cidr("fd00::/64")];
for (const [kind, encapsulation, family, subnets] of [
  ["geneve", "geneve", 4, [ipv4, ipv6]],
  ["geneve", "geneve", 6, [ipv4, ipv6]],
  ["gretap", "nvgre", 4, [ipv4, ipv6]],
  ["ip6gretap", "nvgre", 6, [ipv4, ipv6]],
  ["gre", "gre", 4, [ipv4, ipv6]],
  ["ip6gre", "gre", 6, [ipv4, ipv6]],
  ["ipip", "ipip", 4, [ipv4]],
  ["sit", "ipip", 4, [ipv4, ipv6]],
  ["ip6tnl", "ipip", 6, [ipv4, ipv6]],
] as const satisfies readonly (readonly [KernelFeature, TunnelEncapsulation, 4 | 6, readonly unknown[]])[]) {
  const {
    modes: [mode = "l2"],
    port = 0,
  } = encapsulations[encapsulation];
  const network = networkSettings({
    mode,
    subnets,
    transport: { encapsulation, port },
    localVtep: sceneVteps[family],
  });
  test(`tunnels by ${encapsulation} over IPv${family}, of kind ${kind}`, requires(kind), () =>
    assertAsLinux((kernel, names) => observeTunnels(kernel, names, network)),
  );
}
