import { type Command, InvalidArgumentError, Option } from "commander";
import type { Cidr } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Network } from "../../model/resources.ts";
import { UsageError } from "../errors.ts";
import {
  addresses,
  examples,
  integer,
  outputOption,
  prefixes,
  serverOption,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { show } from "../output.ts";
import { type Column, renderFields, renderTable } from "../table.ts";
import { addDelete } from "./delete.ts";

/** What can change while the network is in use; absent: it stays. */
interface ChangeOptions {
  readonly gateway?: readonly IpAddress[];
  readonly mtu?: number | "auto";
  readonly flood?: Network["flood"];
  readonly arpSuppression?: boolean;
}
interface CreateOptions extends ChangeOptions {
  readonly tenant: string;
  readonly subnet: readonly Cidr[];
  readonly vni?: number;
  readonly port?: number;
  readonly underlay?: Network["underlay"];
}

const columns: readonly Column<Network>[] = [
  { header: "name", value: (row) => row.name },
  { header: "tenant", value: (row) => row.tenant },
  { header: "encapsulation", value: (row) => row.encapsulation },
  { header: "vni", value: (row) => row.vni },
  { header: "mtu", value: (row) => row.mtu ?? "auto" },
  { header: "subnets", value: (row) => row.subnets.join(", ") },
];

export function registerNetwork(program: Command): void {
  const network = program.command("network").description("layer-2 networks");

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
      .option("--vni <number>", "VXLAN network identifier (default: the server chooses)", integer(1, 0xff_ff_ff))
      .option("--port <number>", "UDP destination port of the tunnel (default: 4789)", integer(1, 65_535))
      .addOption(new Option("--underlay <family>", "IP version of the underlay").choices(["ipv4", "ipv6"])),
  )
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: CreateOptions & WithServer & WithOutput) => {
      const [{ serverClient, declaration, ofKind }, { parseNetworkDraft, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const { tenant, subnet, vni, port, underlay } = options;
      const draft = parseNetworkDraft({ name, tenant, subnets: subnet, vni, port, underlay, ...changesOf(options) });
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
  );

  const list = network
    .command("list")
    .description("list the networks")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const networks = ofKind("network", (await serverClient(options.server).list({ kind: "network" })).resources);
      await show(options.output, networks, (surface) => renderTable(columns, networks, surface));
    });
  examples(list, "weft network list", "weft network list -o json");

  const one = network
    .command("show <name>")
    .description("show a network in full")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput) => {
      const found = await findNetwork(options.server, name);
      await show(options.output, found, (surface) =>
        renderFields(
          [
            ["name", found.name],
            ["tenant", found.tenant],
            ["mode", found.mode],
            ["encapsulation", found.encapsulation],
            ["vni", found.vni],
            ["subnets", found.subnets],
            ["gateways", found.gateways],
            ["mtu", found.mtu ?? "auto"],
            ["port", found.port],
            ["underlay", found.underlay],
            ["flood", found.flood],
            ["arp suppression", found.arpSuppression ? "on" : "off"],
          ],
          surface,
        ),
      );
    });
  examples(one, "weft network show web", "weft network show web -o yaml");

  const set = changeOptions(
    network.command("set <name>").description("change a network; what is not named stays as it is"),
  )
    .option("--arp-suppression", "nodes answer ARP and neighbour solicitations themselves")
    .addOption(serverOption())
    .action(async (name: string, options: ChangeOptions & WithServer) => {
      const changes = changesOf(options);
      if (Object.keys(changes).length === 0)
        throw new UsageError(`change network ${name}`, "nothing to change was named", "weft network set --help");
      const [{ serverClient, declaration }, { parseNetworkDraft, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const draft = parseNetworkDraft({ ...(await findNetwork(options.server, name)), ...changes });
      if (!draft.ok) throw new UsageError(`change network ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await serverClient(options.server).apply({
        resources: [declaration({ kind: "network", ...draft.value })],
      });
      for (const result of answer.results)
        process.stdout.write(
          `network ${name} ${result.outcome}\n${result.differences.map((difference) => `  ${difference}\n`).join("")}`,
        );
    });
  examples(set, "weft network set web --mtu 1400", "weft network set web --mtu auto --flood none");

  addDelete(network, "network", "<name...>", "delete networks that have no endpoints");
}

function changeOptions(command: Command): Command {
  return command
    .option("--gateway <address>", "address that no endpoint gets; one for each subnet", addresses)
    .option("--mtu <octets>", "largest inner IP packet; auto: what the underlay carries", mtu)
    .addOption(
      new Option(
        "--flood <how>",
        "broadcast, unknown unicast and multicast go to all nodes of the network, or nowhere",
      ).choices(["head-end", "none"]),
    )
    .option("--no-arp-suppression", "ARP and neighbour solicitations cross the underlay");
}

/** The fields that were named. `mtu: undefined` is named too: it means computed. */
function changesOf(options: ChangeOptions): Record<string, unknown> {
  return {
    ...(options.gateway === undefined ? {} : { gateways: options.gateway }),
    ...(options.mtu === undefined ? {} : { mtu: options.mtu === "auto" ? undefined : options.mtu }),
    ...(options.flood === undefined ? {} : { flood: options.flood }),
    ...(options.arpSuppression === undefined ? {} : { arpSuppression: options.arpSuppression }),
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

async function findNetwork(server: string, name: string): Promise<Network> {
  const { serverClient, ofKind } = await import("../admin.ts");
  const [found] = ofKind("network", (await serverClient(server).list({ kind: "network", name })).resources);
  if (found !== undefined) return found;
  throw new WeftError({
    code: "not-found",
    attempted: `show network ${name}`,
    reason: "there is no such network",
    hint: "weft network list",
  });
}
