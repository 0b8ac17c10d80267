/** Hosts without weft in a network: set up by iproute2 alone, they are reached and reach, by a list of VTEPs and by multicast. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, idle, inLab, pings, testLab, theWholeFile, until, weftJson } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 2 });
// The host of the server runs no agent: it is the stranger.
const stranger = { name: "server", ipv4: "192.0.2.254", ipv6: "2001:db8::fe" };

/** What an operator types on a host without weft; the address of the overlay is 10.0.0.99 there, and fd00::99. */
async function setUp(vni: number, tunnel: string, commands: string): Promise<void> {
  await inLab(
    lab,
    stranger.name,
    "sh",
    "-ec",
    `ip link add vx${vni} type vxlan id ${vni} ${tunnel}
     ip link set vx${vni} mtu 1430
     ip address add 10.0.0.99/24 dev vx${vni}
     ip address add fd00::99/64 dev vx${vni} nodad
     ip link set vx${vni} up
     ${commands}`,
  );
}

async function attach(network: string): Promise<void> {
  for (const host of ["h1", "h2"]) {
    lab.addContainer(`${network}-${host}`);
    await lab.attach(`${network}-${host}`, host, network);
  }
  await idle(lab, "h1", "h2");
}

/** Every container reaches the stranger and the other container, and the stranger reaches both. */
async function everybodyTalks(network: string): Promise<void> {
  using first = lab.namespace(`${network}-h1`);
  using second = lab.namespace(`${network}-h2`);
  using outside = lab.namespace(stranger.name);
  for (const [from, addresses] of [
    [first, ["10.0.0.99", "fd00::99", "10.0.0.2", "fd00::2"]],
    [second, ["10.0.0.99", "fd00::99", "10.0.0.1", "fd00::1"]],
    [outside, ["10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"]],
  ] as const)
    for (const address of addresses)
      await until(async () => assert.ok(await pings(from, address), `${from.label} reaches ${address}`));
}

/** The stranger's MAC as the kernel of h1 learned it, and as weft shows it. */
async function learnedOrigin(network: string, vni: number): Promise<string | undefined> {
  const [link] = JSON.parse(await inLab(lab, stranger.name, "ip", "-j", "link", "show", `vx${vni}`)) as [
    { address: string },
  ];
  const rows = (await weftJson(["fdb", network, "--agent", lab.agentSocket("h1")])) as {
    key: string;
    origin: string;
  }[];
  return rows.find(({ key }) => key === link.address)?.origin;
}

async function takeDown(network: string, vni: number): Promise<void> {
  for (const host of ["h1", "h2"]) await lab.detach(`${network}-${host}`, host, network);
  await lab.admin.delete({ resources: [{ kind: "network", name: network }] });
  await inLab(lab, stranger.name, "ip", "link", "del", `vx${vni}`);
}

for (const underlay of ["ipv4", "ipv6"] as const)
  test(`a list of VTEPs over ${underlay}: a host set up by hand talks with containers, in both directions`, async () => {
    const name = `listed-${underlay}`;
    const vni = underlay === "ipv4" ? 301 : 302;
    const nodes = underlay === "ipv4" ? ["192.0.2.1", "192.0.2.2"] : ["2001:db8::1", "2001:db8::2"];
    await createNetworks(lab, [
      {
        name,
        vni,
        subnets: ["10.0.0.0/24", "fd00::/64"],
        underlay,
        discovery: "static",
        vteps: [...nodes, stranger[underlay]],
      },
    ]);
    await attach(name);
    const floods = nodes.map((node) => `bridge fdb append 00:00:00:00:00:00 dev vx${vni} dst ${node}`);
    await setUp(vni, `dstport 4789 local ${stranger[underlay]}`, floods.join("\n"));
    await everybodyTalks(name);
    await until(async () => assert.equal(await learnedOrigin(name, vni), "kernel"));
    await takeDown(name, vni);
  });

for (const [underlay, group] of [
  ["ipv4", "239.0.1.47"],
  ["ipv6", "ff05::1:2f"],
] as const)
  test(`multicast over ${underlay}: a host set up by hand joins the group and talks`, async () => {
    const name = `grouped-${underlay}`;
    const vni = 303;
    await createNetworks(lab, [
      {
        name,
        vni,
        port: 8472,
        subnets: ["10.0.0.0/24", "fd00::/64"],
        underlay,
        discovery: "multicast",
        multicast: { group, ttl: 1 },
      },
    ]);
    await attach(name);
    await until(async () => {
      const { agent } = await weftJson(["status", "--agent", lab.agentSocket("h1")]);
      const status = agent.networks.find((each: { name: string }) => each.name === name);
      assert.deepEqual(
        [status.group, status.groupInterface, status.groupJoined],
        [group, "eth0", true],
        "weft status tells the group and that it is joined",
      );
    });
    await setUp(vni, `dstport 8472 group ${group} dev eth0 local ${stranger[underlay]}`, "");
    await everybodyTalks(name);
    await until(async () => assert.equal(await learnedOrigin(name, vni), "kernel"));
    await takeDown(name, vni);
    await until(async () => {
      const left = await inLab(lab, "h1", "ip", "maddr", "show", "dev", "eth0");
      assert.ok(!left.includes(group), "the group is left with the network");
    });
  });
