import type { Command } from "commander";
import { examples, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { instant, show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { addDelete } from "./delete.ts";

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
            { header: "last seen", value: (row) => row.lastSeen },
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
              ["last seen", found.lastSeen],
              ["address", found.address],
              ["second agent", refusedOf(found)],
              ["labels", Object.entries(found.labels).map(([label, text]) => `${label}=${text}`)],
            ],
            surface,
          ),
        );
    });
  examples(one, "weft node show h1");

  addDelete(node, "node", "<name...>", "delete nodes, their endpoints and blocks; their certificates are good no more");
}

/** The node of this name, or all, each with what the server knows of its connection. */
async function findNodes(server: string, name: string) {
  const { serverClient, ofKind } = await import("../admin.ts");
  const answer = await serverClient(server).list({ kind: "node", name });
  const contacts = new Map(answer.contacts.map((contact) => [contact.node, contact]));
  return ofKind("node", answer.resources).map((node) => {
    const { connected, lastSeen, address, refusedAddress, refusedAt } = contacts.get(node.name) ?? noContact;
    return {
      ...node,
      connected,
      lastSeen: instant(lastSeen),
      ...(address === "" ? {} : { address }),
      ...(refusedAddress === "" ? {} : { refused: { address: refusedAddress, at: instant(refusedAt) } }),
    };
  });
}

const noContact = { connected: false, lastSeen: 0n, address: "", refusedAddress: "", refusedAt: 0n };

/** Another host that has this node's identity, too. */
function refusedOf({ refused }: { readonly refused?: { readonly address: string; readonly at: string | undefined } }) {
  return refused === undefined ? undefined : `${refused.address} refused at ${refused.at}`;
}

function stateOf(node: { readonly connected: boolean }): string {
  return node.connected ? "connected" : "disconnected";
}
