import type { Command } from "commander";
import type { Cidr } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { UsageError } from "../errors.ts";
import { examples, outputOption, prefixes, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { instant, show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { addDelete } from "./delete.ts";
import { registerDrain } from "./node-drain.ts";
import { addressPair, hostText, labelChanges, labelTexts } from "./node-options.ts";

interface SetOptions extends WithServer, WithOutput {
  readonly label?: readonly string[];
  /** False: no address is approved any more. */
  readonly vtep?: readonly IpAddress[] | false;
  /** False: none is declared any more. */
  readonly block?: readonly Cidr[] | false;
}

export function registerNode(program: Command): void {
  const node = program.command("node").description("hosts that run an agent; a node joins by itself");

  const list = node
    .command("list")
    .description("list the nodes")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const nodes = await findNodes(options.server, "");
      await show(options.output, nodes, (surface) =>
        renderTable(
          [
            { header: "name", value: (row) => row.name },
            { header: "state", value: stateOf, isState: true },
            { header: "vtep ipv4", value: (row) => row.vtepAddresses.ipv4 },
            { header: "vtep ipv6", value: (row) => row.vtepAddresses.ipv6 },
            { header: "underlay mtu", value: (row) => row.underlayMtu },
            { header: "in place", value: inPlaceOf },
            { header: "last seen", value: (row) => row.lastSeen },
            { header: "labels", value: (row) => labelTexts(row.labels).join(", ") },
            { header: "approved", value: (row) => Object.values(row.approved).join(", ") },
            ...(nodes.some(({ refused }) => refused !== undefined)
              ? [{ header: "second agent", value: refusedOf }]
              : []),
          ],
          nodes,
          surface,
        ),
      );
    });
  examples(list, "weft node list", "weft node list -o json");

  const one = node
    .command("show <name>")
    .description("show a node in full")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput) => {
      for (const found of await findNodes(options.server, name))
        await show(options.output, found, (surface) =>
          renderFields(
            [
              ["name", found.name],
              ["state", stateOf(found)],
              ["vtep ipv4", found.vtepAddresses.ipv4],
              ["vtep ipv6", found.vtepAddresses.ipv6],
              ["underlay mtu", found.underlayMtu],
              ["generation", found.generation],
              ["in place", inPlaceOf(found)],
              ["last seen", found.lastSeen],
              ["address", found.address],
              ["second agent", refusedOf(found)],
              ["labels", labelTexts(found.labels)],
              ["approved vteps", Object.values(found.approved)],
              ["declared blocks", found.blocks],
              ["hosts", found.hosted.map((host) => hostText(host.network, host))],
            ],
            surface,
          ),
        );
    });
  examples(one, "weft node show h1");

  const set = node
    .command("set <name>")
    .description("say what a node is and where it may be, also before it joins; what is not named stays")
    .option("--label <label>", "NAME=VALUE: what node selectors ask for; NAME- takes it away; repeat it", collect)
    .option(
      "--vtep <addresses>",
      "ADDRESS[,ADDRESS6]: VTEP addresses that the node may have without proof",
      addressPair,
    )
    .option("--no-vtep", "none but what is proved")
    .option(
      "--block <prefix>",
      "what it may own of networks with --block-assignment declared, instead of what was declared before; repeat it",
      prefixes,
    )
    .option("--no-block", "nothing")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, { label, vtep, block, ...options }: SetOptions) => {
      if (label === undefined && vtep === undefined && block === undefined)
        throw new UsageError(`set node ${name}`, "nothing to set was named", "weft node set --help");
      const { serverClient, nodeSettingsOf } = await import("../admin.ts");
      const answer = await serverClient(options.server).setNode({
        name,
        ...labelChanges(name, label ?? []),
        ...(vtep === undefined ? {} : { approved: vtepMessage(vtep || []) }),
        ...(block === undefined ? {} : { blocks: { prefixes: [...(block || [])] } }),
      });
      const settings = { name, ...nodeSettingsOf(answer.settings) };
      await show(options.output, settings, (surface) =>
        renderFields(
          [
            ["name", name],
            ["labels", labelTexts(settings.labels)],
            ["approved vteps", Object.values(settings.approved)],
            ["declared blocks", settings.blocks],
          ],
          surface,
        ),
      );
    });
  examples(
    set,
    "weft node set h1 --label zone=a --label rack-",
    "weft node set h1 --vtep 192.0.2.1,2001:db8::1",
    "weft node set h1 --no-vtep",
    "weft node set h1 --block 10.64.1.0/24",
  );

  registerDrain(node);
  addDelete(node, "node", "delete nodes, their endpoints and blocks; their certificates are good no more", "h1");
}

function collect(text: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), text];
}

function vtepMessage(addresses: readonly IpAddress[]): { readonly ipv4: string; readonly ipv6: string } {
  return {
    ipv4: addresses.find((address) => !address.includes(":")) ?? "",
    ipv6: addresses.find((address) => address.includes(":")) ?? "",
  };
}

/** The node of this name, or all, those that are yet to join among them; each with what the server knows of its connection. */
async function findNodes(server: string, name: string) {
  const { serverClient, ofKind, nodeSettingsOf } = await import("../admin.ts");
  const answer = await serverClient(server).list({ kind: "node", name });
  const contacts = new Map(answer.contacts.map((contact) => [contact.node, contact]));
  const nodes = new Map(ofKind("node", answer.resources).map((node) => [node.name, node]));
  return answer.nodeSettings.map((settings) => {
    const contact = contacts.get(settings.name) ?? noContact;
    const { connected, networks, networksBehind, lastSeen, address, refusedAddress, refusedAt } = contact;
    return {
      name: settings.name,
      vtepAddresses: {},
      ...nodes.get(settings.name),
      ...nodeSettingsOf(settings),
      hosted: answer.hosted.map(({ network, endpoints, blocks, missingLabels }) => ({
        network,
        endpoints,
        blocks,
        missingLabels,
      })),
      hasJoined: nodes.has(settings.name),
      connected,
      networks,
      networksBehind,
      lastSeen: instant(lastSeen),
      ...(address === "" ? {} : { address }),
      ...(refusedAddress === "" ? {} : { refused: { address: refusedAddress, at: instant(refusedAt) } }),
    };
  });
}

const noContact = {
  connected: false,
  networks: 0,
  networksBehind: 0,
  lastSeen: 0n,
  address: "",
  refusedAddress: "",
  refusedAt: 0n,
};

/** Another host that has this node's identity, too. */
function refusedOf({ refused }: { readonly refused?: { readonly address: string; readonly at: string | undefined } }) {
  return refused === undefined ? undefined : `${refused.address} refused at ${refused.at}`;
}

function inPlaceOf(node: { readonly networks: number; readonly networksBehind: number }): string {
  return `${node.networks - node.networksBehind} of ${node.networks}`;
}

function stateOf(node: { readonly connected: boolean; readonly hasJoined: boolean; readonly drained?: true }): string {
  const state = !node.hasJoined ? "not joined" : node.connected ? "connected" : "disconnected";
  return node.drained === true ? `${state}, drained` : state;
}
