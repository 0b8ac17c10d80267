import { type Command, InvalidArgumentError, Option } from "commander";
import type { Cidr } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { bandwidthText } from "../../model/bandwidth.ts";
import { defaultLeaseTime, longestLeaseTime, shortestLeaseTime } from "../../model/dhcp.ts";
import { type Dscp, dscpAllowed, largestDscp } from "../../model/dscp.ts";
import {
  defaultEncapsulation,
  encapsulationNames,
  encapsulations,
  encapsulationsThat,
} from "../../model/encapsulation.ts";
import { topDomain } from "../../model/endpoint-names.ts";
import { peerName } from "../../model/names.ts";
import { defaultGroup } from "../../model/network-rules.ts";
import type { Network } from "../../model/resources.ts";
import { bandwidthHelp, bandwidthOption, endpointBandwidthHelp } from "../bandwidth-option.ts";
import { bandwidthUseHere, bandwidthUseTexts } from "../bandwidth-use.ts";
import { UsageError } from "../errors.ts";
import {
  address,
  addresses,
  agentOption,
  bootFile,
  domain,
  examples,
  integer,
  interfaceName,
  networkOfTenant,
  outputOption,
  prefixes,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { show } from "../output.ts";
import { readinessFields, readinessLines } from "../readiness.ts";
import { type Column, renderFields, renderTable } from "../table.ts";
import { print } from "../terminal.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";
import { addDelete } from "./delete.ts";
import { hostText, labelTexts, nodeSelector } from "./node-options.ts";

/** What `--gateway` takes beside addresses. */
const gatewayKinds = ["distributed", "none"] as const;
type GatewayKind = (typeof gatewayKinds)[number];

/** What was named: fields of a network by their names, but for these. */
interface NetworkOptions
  extends Partial<
    Omit<
      Network,
      | "name"
      | "subnets"
      | "gateways"
      | "gateway"
      | "peers"
      | "vteps"
      | "mtu"
      | "multicast"
      | "nodeSelector"
      | "stormControl"
      | "dhcp"
    > &
      WithServer &
      WithOutput &
      WithWait
  > {
  readonly subnet?: readonly Cidr[];
  readonly gateway?: readonly (IpAddress | GatewayKind)[];
  readonly peer?: readonly string[];
  readonly vtep?: readonly IpAddress[];
  readonly mtu?: number | "auto";
  readonly portStormLimit?: number;
  readonly networkStormLimit?: number;
  readonly multicastGroup?: IpAddress | "auto";
  readonly multicastTtl?: number;
  readonly multicastInterface?: string;
  /** False: every node. */
  readonly nodeSelector?: Network["nodeSelector"] | false;
  readonly dhcp?: boolean;
  readonly dns?: readonly IpAddress[];
  readonly domain?: string;
  readonly ntp?: readonly IpAddress[];
  readonly leaseTime?: number;
  readonly bootServer?: IpAddress;
  readonly bootFile?: string;
  readonly metadata?: boolean;
  readonly names?: boolean;
}

/** A network, and what its nodes make of it. */
interface NetworkRow extends Network {
  /** Octets of the largest inner packet that every node sends now; absent while there is no node. */
  readonly effectiveMtu?: number;
  /** Why that is not what was asked for. */
  readonly problem?: string;
}

const columns: readonly Column<NetworkRow>[] = [
  { header: "name", value: (row) => row.name },
  { header: "tenant", value: (row) => row.tenant },
  { header: "mode", value: (row) => row.mode },
  { header: "encapsulation", value: (row) => row.encapsulation },
  { header: "vni", value: (row) => row.vni },
  { header: "mtu", value: mtuText },
  { header: "subnets", value: (row) => row.subnets.join(", ") },
  { header: "problem", value: (row) => row.problem },
];

export function registerNetwork(program: Command): void {
  const network = program.command("network").description("networks of layer 2 and layer 3");

  const create = changeOptions(
    network
      .command("create <name>")
      .description("create a network")
      .requiredOption("--tenant <tenant>", "whose it is")
      .addOption(
        new Option("--subnet <prefix>", "IPv4 or IPv6 prefix; repeat it for both")
          .argParser(prefixes)
          .makeOptionMandatory(),
      )
      .addOption(
        new Option("--mode <mode>", "l2: one flat subnet; l3: each node owns blocks of it (default: l2)").choices([
          "l2",
          "l3",
        ]),
      )
      .option("--vni <number>", "virtual network identifier (default: the server chooses)", integer(1, 0xff_ff_ff))
      .addOption(
        new Option("--underlay <family>", "IP version of the underlay (default: ipv4)").choices(["ipv4", "ipv6"]),
      ),
  )
    .option("--vlan-tags", "l2: frames with a VLAN tag pass (default: they are dropped)")
    .option("--no-anti-spoof", "endpoints send with any address, and what routers and servers send")
    .option("--cross-subnet", "l3: nodes that share a link route to each other without a tunnel")
    .option("--egress", "endpoints reach the world outside behind an address of their node")
    .option("--host-access", "a node reaches the endpoints on it")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: NetworkOptions & WithServer & WithOutput) => {
      const [{ serverClient, declaration, ofKind }, { parseNetworkDraft, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const draft = parseNetworkDraft({ name, ...fieldsOf(options) });
      if (!draft.ok) throw new UsageError(`create network ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await serverClient(options.server).create({
        resources: [declaration({ kind: "network", ...draft.value })],
      });
      const [created] = ofKind("network", answer.resources);
      await show(options.output, created, () => `network ${name} created, VNI ${created?.vni}\n`);
    });
  examples(
    create,
    "weft network create web --tenant blue --subnet 10.1.0.0/16",
    "weft network create db --tenant blue --subnet 10.2.0.0/24 --subnet fd00:2::/64 --gateway 10.2.0.1",
    "weft network create front --tenant blue --subnet 10.5.0.0/16 --gateway distributed",
    "weft network create pods --tenant blue --mode l3 --subnet 10.64.0.0/12 --block-size 256 --encapsulation geneve",
    "weft network create old --tenant blue --subnet 10.3.0.0/24 --discovery static --vtep 192.0.2.7 --vtep 192.0.2.8",
    "weft network create lab --tenant blue --subnet 10.4.0.0/24 --discovery multicast --multicast-ttl 4 --port 8472",
  );

  const list = network
    .command("list")
    .description("list the networks")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const [{ serverClient, ofKind }, rowOf] = await Promise.all([import("../admin.ts"), rowsOf(options.server)]);
      const networks = ofKind("network", (await serverClient(options.server).list({ kind: "network" })).resources).map(
        rowOf,
      );
      await show(options.output, networks, (surface) => renderTable(columns, networks, surface));
    });
  examples(list, "weft network list", "weft network list -o json");

  const one = network
    .command("show <name>")
    .description("show a network in full; on a node that hosts it also what met its bandwidth there")
    .addOption(serverOption())
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithAgent & WithOutput) => {
      const { network: declared, blocks, peers, ...hosting } = await findNetwork(options.server, name);
      const found = (await rowsOf(options.server))(declared);
      const { multicast } = found;
      const { mtuNode, hosts, readiness } = hosting;
      const bandwidthUse = await bandwidthUseHere(options.agent, { network: name });
      const here = { ...hosting, peerings: peers, ...(bandwidthUse.length === 0 ? {} : { bandwidthUse }) };
      const shown = found.mode === "l2" ? { ...found, ...here } : { ...found, blocks, ...here };
      await show(options.output, shown, (surface) =>
        renderFields(
          [
            ["name", found.name],
            ["tenant", found.tenant],
            ["mode", found.mode],
            ["encapsulation", found.encapsulation],
            ["vni", found.vni],
            ["subnets", found.subnets],
            ["gateways", found.gateways],
            ["gateway", found.gateway],
            ["peers", peers.map((peer) => `${peerName({ ...peer, name: peer.network })}: ${peer.state}`)],
            ["mtu", mtuText(found)],
            ["smallest underlay", mtuNode === "" ? undefined : `node ${mtuNode}`],
            ["problem", found.problem],
            ["port", found.port === 0 ? undefined : found.port],
            ["underlay", found.underlay],
            ["flood", found.flood],
            ["arp suppression", onOrOff(found.arpSuppression)],
            ["discovery", found.discovery],
            ["multicast group", multicast && (multicast.group ?? defaultGroup(found.vni, found.underlay))],
            ["multicast ttl", multicast?.ttl],
            ["multicast interface", multicast && (multicast.interface ?? "auto")],
            ["vteps", found.vteps],
            ["learning", found.learning],
            ["learning limit", found.learningLimit],
            ["ageing", `${found.ageing} s`],
            ["vlan tags", found.mode === "l2" ? onOrOff(found.vlanTags) : undefined],
            ["anti spoof", onOrOff(found.antiSpoof)],
            ["storm control", stormText(found)],
            ["policy default", found.policyDefault],
            ["dhcp", dhcpText(found.dhcp)],
            ["names", found.names ? `NAME.${found.name}.${found.tenant}.${topDomain}` : "not answered"],
            ["bandwidth", bandwidthText(found.bandwidth)],
            ["endpoint bandwidth", bandwidthText(found.endpointBandwidth)],
            ["dscp", found.dscp],
            ["used here", bandwidthUseTexts(bandwidthUse)],
            ["cross subnet", found.mode === "l3" ? onOrOff(found.crossSubnet) : undefined],
            ["egress", onOrOff(found.egress)],
            ["egress blocked", found.egress ? listOrNone(found.egressBlocked) : undefined],
            ["host access", onOrOff(found.hostAccess)],
            ["change timeout", `${found.changeTimeout} s`],
            ["block size", found.mode === "l3" ? found.blockSize : undefined],
            ["block assignment", found.mode === "l3" ? found.blockAssignment : undefined],
            ["blocks", blocks.map(({ cidr, node }) => `${cidr} on ${node}`)],
            ["node selector", labelTexts(found.nodeSelector)],
            ["hosts", hosts.map((host) => hostText(host.node, host))],
            ...readinessLines(readiness),
          ],
          surface,
        ),
      );
    });
  examples(one, "weft network show web", "weft network show web -o yaml");

  const set = changeOptions(
    network.command("set <name>").description("change a network; what is not named stays as it is"),
  )
    .option("--vlan-tags", "l2: frames with a VLAN tag pass")
    .option("--no-vlan-tags", "they are dropped")
    .option("--anti-spoof", "endpoints send with their own addresses alone")
    .option("--no-anti-spoof", "they send with any, and what routers and servers send")
    .option("--cross-subnet", "l3: nodes that share a link route to each other without a tunnel")
    .option("--no-cross-subnet", "all nodes use the tunnel")
    .option("--egress", "endpoints reach the world outside behind an address of their node")
    .option("--no-egress", "they do not")
    .option("--host-access", "a node reaches the endpoints on it")
    .option("--no-host-access", "it does not")
    .option("--no-metadata", "nodes do not answer for metadata")
    .option("--no-names", "nodes do not answer DNS")
    .option("--no-dhcp", "endpoints are told nothing by DHCP and router advertisements")
    .option("--no-node-selector", "every node may host it")
    .addOption(waitOption())
    .addOption(serverOption())
    .action(async (name: string, options: NetworkOptions & WithServer & WithWait) => {
      const changes = fieldsOf(options);
      if (Object.keys(changes).length === 0)
        throw new UsageError(`change network ${name}`, "nothing to change was named", "weft network set --help");
      const [{ serverClient, declaration }, { parseNetworkDraft, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const { network: before } = await findNetwork(options.server, name);
      const draft = parseNetworkDraft({ ...keptBy(before, changes), ...merged(before, changes) });
      if (!draft.ok) throw new UsageError(`change network ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await serverClient(options.server).apply({
        resources: [declaration({ kind: "network", ...draft.value })],
      });
      for (const result of answer.results)
        print(
          `network ${name} ${result.outcome}\n${result.differences.map((difference) => `  ${difference}\n`).join("")}`,
        );
      if (options.wait === undefined) return;
      // With peers it is as it shall be once the nodes have made the other tenant's end, too.
      const { peers } = changes.peers === undefined ? { peers: [] } : await findNetwork(options.server, name);
      const networks = [name, ...peers.flatMap(({ network: peer, state }) => (state === inForce ? [peer] : []))];
      await waitInPlace(`network ${name}`, options.wait, (signal) =>
        serverClient(options.server).waitInPlace({ networks, revision: answer.revision }, { signal }),
      );
    });
  examples(
    set,
    "weft network set web --mtu 1400",
    "weft network set web --mtu auto --flood none",
    "weft network set web --encapsulation geneve --wait",
    "weft network set web --learning-limit 16 --ageing 120",
    "weft network set web --policy-default deny",
    "weft network set web --dhcp --dns 10.1.0.53 --domain lab.example",
    "weft network set web --bandwidth send=1Gbit --bandwidth receive=1Gbit --endpoint-bandwidth send=100Mbit,burst=200000",
    "weft network set web --egress --egress-blocked 169.254.0.0/16,10.0.0.0/8",
    "weft network set web --peer red/orders --peer red/stock --wait",
    "weft network set web --peer none --wait",
  );

  addDelete(network, "network", "delete networks that have no endpoints", "web");
}

function changeOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--encapsulation <name>", `header between nodes (default: ${defaultEncapsulation})`).choices(
        encapsulationNames,
      ),
    )
    .option("--port <number>", `UDP destination port (default: ${usualPorts.join(", ")})`, integer(1, 65_535))
    .option(
      "--gateway <address>",
      "l2: address that no endpoint gets; one for each subnet. distributed: each node routes between this and the tenant's other networks of which the same was said; none: it does not",
      gateways,
    )
    .option(
      "--peer <tenant/network>",
      "network of another tenant that packets are routed to and from, once it names this one, too; repeat it; none",
      peers,
    )
    .option("--block-size <addresses>", "l3: addresses of each node's block, a power of two (default: 64)", blockSize)
    .addOption(
      new Option(
        "--block-assignment <how>",
        "l3: declared: nodes own the blocks that weft node set names, or Kubernetes, and no others",
      ).choices(["automatic", "declared"]),
    )
    .option("--mtu <octets>", "largest inner IP packet; auto: what the underlay carries", mtu)
    .addOption(
      new Option(
        "--flood <how>",
        "broadcast, unknown unicast and multicast go to all nodes of the network; groups: not what is for a MAC address that nobody has; none: nowhere",
      ).choices(["head-end", "groups", "none"]),
    )
    .option("--arp-suppression", "nodes answer ARP and neighbour solicitations themselves")
    .option("--no-arp-suppression", "ARP and neighbour solicitations cross the underlay")
    .addOption(
      new Option("--discovery <how>", "how nodes find each other (default: control-plane)").choices([
        "control-plane",
        "multicast",
        "static",
      ]),
    )
    .option("--multicast-group <address>", "what nodes join; auto: follows from the VNI", multicastGroup)
    .option("--multicast-ttl <hops>", "how far frames to the group go (default: 1)", integer(1, 255))
    .option("--multicast-interface <name>", "what joins; auto: the interface that has the VTEP address", interfaceName)
    .option("--vtep <address>", "with static discovery: where flooded frames go; repeat it", addresses)
    .addOption(
      new Option("--learning <how>", "where MAC addresses of other nodes come from").choices([
        "control-plane",
        "data-plane",
      ]),
    )
    .option("--learning-limit <count>", "MACs learned behind one port and published (default: 0)", integer(0, 4096))
    .option(
      "--port-storm-limit <frames>",
      "broadcast and multicast frames that an endpoint may send each second, and as many to unknown MACs (default: 1000); 0: any number",
      integer(0, 1_000_000_000),
    )
    .option(
      "--network-storm-limit <frames>",
      "the same of all its endpoints on one node together (default: 5000)",
      integer(0, 1_000_000_000),
    )
    .option("--bandwidth <limits>", `of its endpoints on one node together: ${bandwidthHelp}; none`, bandwidthOption)
    .option("--endpoint-bandwidth <limits>", `of each endpoint: ${endpointBandwidthHelp}; none`, bandwidthOption)
    .addOption(
      new Option(
        "--policy-default <verdict>",
        "what becomes of packets of its endpoints of which no policy says anything (default: allow)",
      ).choices(["allow", "deny"]),
    )
    .option(
      "--dscp <codepoint>",
      "of packets between nodes: 0 to 63, or inherit: that of the packet inside (default: 0)",
      dscp,
    )
    .option(
      "--dhcp",
      "nodes answer DHCP and router solicitations of their endpoints; the options that follow say what else they tell, and imply it",
    )
    .option("--dns <address>", "DNS server, of either family; repeat it", addresses)
    .option("--domain <name>", "domain in which endpoints look up names", domain)
    .option("--ntp <address>", "NTP server, of either family; repeat it", addresses)
    .option(
      "--lease-time <seconds>",
      `how long an endpoint may go without an answer (default: ${defaultLeaseTime})`,
      integer(shortestLeaseTime, longestLeaseTime),
    )
    .option("--boot-server <address>", "TFTP server to boot from", address)
    .option("--boot-file <path>", "what to boot: a path on that server, or a URL", bootFile)
    .option("--metadata", "nodes answer at 169.254.169.254 what cloud-init asks for")
    .option("--names", "nodes answer DNS at 169.254.169.254 for the names of its endpoints")
    .option("--ageing <seconds>", "when what was learned is forgotten (default: 300)", integer(10, 86_400))
    .option(
      "--change-timeout <seconds>",
      "how long each phase of a change of encapsulation, port or MTU waits for nodes (default: 30)",
      integer(1, 3_600),
    )
    .option(
      "--node-selector <label>",
      "NAME=VALUE: which nodes may host it; repeat it (default: every node)",
      nodeSelector,
    )
    .option(
      "--egress-blocked <prefixes>",
      "with egress: what endpoints do not reach all the same, prefixes with commas between; none; default: link-local addresses and the metadata services of clouds",
      blockedPrefixes,
    );
}

const usualPorts = encapsulationsThat(({ port }) => port !== 0).map(
  (name) => `${encapsulations[name].port} with ${name}`,
);

/** The fields that were named. `mtu: undefined` is named too: it means computed. */
function fieldsOf(options: NetworkOptions): Record<string, unknown> {
  const {
    server: _server,
    output: _output,
    wait: _wait,
    subnet,
    gateway,
    peer,
    vtep,
    nodeSelector: selector,
    dhcp,
    dns,
    domain,
    ntp,
    leaseTime,
    bootServer,
    bootFile,
    metadata,
    ...named
  } = options;
  const { portStormLimit, networkStormLimit, ...rest } = named;
  const { mtu: size, multicastGroup: group, multicastTtl: ttl, multicastInterface: name, ...fields } = rest;
  const stormControl = {
    ...(portStormLimit === undefined ? {} : { port: portStormLimit }),
    ...(networkStormLimit === undefined ? {} : { network: networkStormLimit }),
  };
  const multicast = {
    ...(group === undefined ? {} : { group: group === "auto" ? undefined : group }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(name === undefined ? {} : { interface: name === "auto" ? undefined : name }),
  };
  return {
    ...fields,
    ...(subnet === undefined ? {} : { subnets: subnet }),
    ...gatewayFields(gateway),
    ...(peer === undefined ? {} : { peers: peer }),
    ...(size === undefined ? {} : { mtu: size === "auto" ? undefined : size }),
    ...(vtep === undefined ? {} : { vteps: vtep }),
    ...(selector === undefined ? {} : { nodeSelector: selector || {} }),
    ...(Object.keys(stormControl).length === 0 ? {} : { stormControl }),
    ...(Object.keys(multicast).length === 0 ? {} : { multicast }),
    ...dhcpFields(dhcp, { dns, domain, ntp, leaseTime, bootServer, bootFile, metadata }),
  };
}

/** What is to be told is told by DHCP, which it implies. */
function dhcpFields(isOn: boolean | undefined, settings: Record<string, unknown>): Record<string, unknown> {
  const named = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  if (isOn === false) return { dhcp: undefined };
  return isOn === true || Object.keys(named).length > 0 ? { dhcp: named } : {};
}

/** Addresses, and whether each node routes, are fields of their own. */
function gatewayFields(named: NetworkOptions["gateway"] = []): Record<string, unknown> {
  const isKind = (each: IpAddress | GatewayKind): each is GatewayKind => gatewayKinds.some((kind) => kind === each);
  const own = named.filter((each) => !isKind(each));
  const kind = named.findLast(isKind);
  return { ...(own.length === 0 ? {} : { gateways: own }), ...(kind === undefined ? {} : { gateway: kind }) };
}

/** The changes, those of single settings of a group together with the settings that stay. */
function merged(before: Network, changes: Record<string, unknown>): Record<string, unknown> {
  const groups = (["multicast", "stormControl", "dhcp"] as const).flatMap((group) => {
    const change = changes[group];
    return typeof change === "object" ? [[group, { ...before[group], ...change }] as const] : [];
  });
  return { ...changes, ...Object.fromEntries(groups) };
}

function dhcpText(dhcp: Network["dhcp"]): readonly string[] | string {
  if (dhcp === undefined) return "off";
  const { dns, domain, ntp, leaseTime, bootServer, bootFile, metadata } = dhcp;
  return [
    `lease of ${leaseTime} s`,
    ...(dns.length === 0 ? [] : [`DNS ${dns.join(", ")}`]),
    ...(domain === undefined ? [] : [`domain ${domain}`]),
    ...(ntp.length === 0 ? [] : [`NTP ${ntp.join(", ")}`]),
    ...(bootFile === undefined ? [] : [`boots ${bootFile}${bootServer === undefined ? "" : ` from ${bootServer}`}`]),
    ...(metadata ? ["metadata"] : []),
  ];
}

function stormText({ stormControl: { port, network } }: Network): string {
  const limit = (frames: number): string => (frames === 0 ? "any number of" : String(frames));
  return `${limit(port)} broadcast and multicast frames/s by an endpoint, ${limit(network)} by all on a node; as many to unknown MACs`;
}

/**
 * What stays of a network with these changes. Fields whose default follows from a changed one have that default again:
 * the port from the encapsulation, learning and what goes with it from the discovery.
 */
function keptBy(before: Network, changes: Record<string, unknown>): Record<string, unknown> {
  const changed = (field: keyof Network): boolean => field in changes && changes[field] !== before[field];
  const { multicast, vteps, learning, port, arpSuppression, ...kept } = before;
  return {
    ...kept,
    ...(changed("encapsulation") ? {} : { port }),
    ...(changed("discovery") ? {} : { vteps, learning }),
    ...(changed("discovery") || changed("learning") ? {} : { arpSuppression }),
    ...(changed("discovery") || multicast === undefined ? {} : { multicast }),
  };
}

function mtu(text: string): number | "auto" {
  if (text === "auto") return text;
  try {
    return integer(68, 65_535)(text);
  } catch {
    throw new InvalidArgumentError("Allowed: 68 to 65535, or auto");
  }
}

function dscp(text: string): Dscp {
  if (text === "inherit") return text;
  try {
    return integer(0, largestDscp)(text);
  } catch {
    throw new InvalidArgumentError(`Allowed: ${dscpAllowed}`);
  }
}

function blockedPrefixes(text: string): readonly Cidr[] {
  return text === "none" ? [] : text.split(",").flatMap((prefix) => prefixes(prefix, undefined));
}

function multicastGroup(text: string): IpAddress | "auto" {
  return text === "auto" ? text : address(text);
}

function blockSize(text: string): number {
  const size = integer(4, 65_536)(text);
  if (Number.isInteger(Math.log2(size))) return size;
  throw new InvalidArgumentError("Allowed: a power of two, 4 to 65536");
}

function gateways(text: string, previous: NetworkOptions["gateway"] = []): NonNullable<NetworkOptions["gateway"]> {
  return [...previous, gatewayKinds.find((kind) => kind === text) ?? address(text)];
}

/** `none` takes back those before it. */
function peers(text: string, previous: readonly string[] = []): readonly string[] {
  if (text === "none") return [];
  return [...previous, networkOfTenant(text)];
}

function listOrNone(list: readonly string[]): readonly string[] | string {
  return list.length === 0 ? "none" : list;
}

function onOrOff(is: boolean): string {
  return is ? "on" : "off";
}

/** Adds to networks what the server's nodes make of their MTU. */
async function rowsOf(server: string): Promise<(network: Network) => NetworkRow> {
  const [{ serverClient, ofKind, nodeSettingsOf }, { effectiveMtu, usableMtu }, { missingLabels }] = await Promise.all([
    import("../admin.ts"),
    import("../../model/mtu.ts"),
    import("../../model/node-selector.ts"),
  ]);
  const client = serverClient(server);
  const { resources, nodeSettings } = await client.list({ kind: "node" });
  const nodes = ofKind("node", resources);
  const labels = new Map(nodeSettings.map((settings) => [settings.name, nodeSettingsOf(settings).labels]));
  const tenants = new Map(
    ofKind("tenant", (await client.list({ kind: "tenant" })).resources).map((tenant) => [tenant.name, tenant]),
  );
  return (network) => {
    const able = nodes.filter(
      ({ name, vtepAddresses }) =>
        vtepAddresses[network.underlay] !== undefined &&
        missingLabels(network, tenants.get(network.tenant), labels.get(name)).length === 0,
    );
    if (able.length === 0) return network;
    const carried = effectiveMtu(network, able);
    return {
      ...network,
      effectiveMtu: usableMtu(network, able),
      ...(carried.ok ? {} : { problem: carried.error.message }),
    };
  };
}

/** What is asked for, and what it comes to where that is something else. */
function mtuText({ mtu, effectiveMtu }: NetworkRow): string {
  const asked = mtu ?? "auto";
  return effectiveMtu === undefined || effectiveMtu === mtu ? `${asked}` : `${asked} (${effectiveMtu})`;
}

/** The state of a peering that nothing keeps from being. */
const inForce = "in force";

async function findNetwork(server: string, name: string) {
  const { serverClient, ofKind, blockOf } = await import("../admin.ts");
  const answer = await serverClient(server).list({ kind: "network", name });
  const [network] = ofKind("network", answer.resources);
  if (network !== undefined)
    return {
      network,
      blocks: answer.blocks.map(blockOf),
      effectiveMtu: answer.effectiveMtu,
      mtuNode: answer.mtuNode,
      peers: answer.peers.map(({ network: peer, tenant, obstacle }) => ({
        network: peer,
        tenant,
        state: obstacle === "" ? inForce : obstacle,
      })),
      readiness: readinessFields(answer.readiness),
      hosts: answer.hosts.map(({ node, endpoints, blocks, missingLabels }) => ({
        node,
        endpoints,
        blocks,
        missingLabels,
      })),
    };
  throw new WeftError({
    code: "not-found",
    attempted: `show network ${name}`,
    reason: "there is no such network",
    hint: "weft network list",
  });
}
