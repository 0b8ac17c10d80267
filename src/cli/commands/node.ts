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
            { header: "in place", value: inPlaceOf },
            { header: "last seen", value: (row) => row.lastSeen },
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
  return ofKind("node", answer.resources).map((node) => ({
    ...node,
    connected: contacts.get(node.name)?.connected ?? false,
    networks: contacts.get(node.name)?.networks ?? 0,
    networksBehind: contacts.get(node.name)?.networksBehind ?? 0,
    lastSeen: instant(contacts.get(node.name)?.lastSeen ?? 0n),
  }));
}

function inPlaceOf(node: { readonly networks: number; readonly networksBehind: number }): string {
  return `${node.networks - node.networksBehind} of ${node.networks}`;
}

function stateOf(node: { readonly connected: boolean }): string {
  return node.connected ? "connected" : "disconnected";
}
