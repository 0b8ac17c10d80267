import type { Command } from "commander";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Endpoint } from "../../model/resources.ts";
import { examples, nodeName, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { show } from "../output.ts";
import { print } from "../terminal.ts";

/** Endpoints that are on their way at a time. */
const atOnce = 16;

interface Move {
  readonly endpoint: Endpoint;
  /** Where it is now; absent: where it was. */
  readonly to?: string;
  /** Why it is there still. */
  readonly reason?: string;
}

/** Adds the commands that empty nodes. */
export function registerDrain(node: Command): void {
  const drain = node
    .command("drain <name>")
    .description(
      "give a node no new endpoints, and move those that it has, by taps, to other nodes while they are in use",
    )
    .option(
      "--to <node>",
      "a node that they go to, one after the other; repeat it (default: all that are connected)",
      nodes,
    )
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput & { readonly to?: readonly string[] }) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const client = serverClient(options.server);
      await client.setNode({ name, drained: true });
      const targets = options.to ?? (await othersThan(name, client));
      const { resources } = await client.list({ kind: "endpoint", node: name });
      // What was learned goes with what it was learned behind.
      const endpoints = ofKind("endpoint", resources).filter(({ attachment }) => attachment !== "learned");
      const moves = await inTurns(endpoints, async (endpoint, number): Promise<Move> => {
        const { id, network, attachment } = endpoint;
        if (attachment !== "tap")
          return { endpoint, reason: `whoever attached it (${attachment}) must attach it elsewhere` };
        let reason = "there is no other node that is connected";
        for (let attempt = 0; attempt < targets.length; attempt++) {
          const to = targets[(number + attempt) % targets.length] ?? "";
          try {
            await client.migrateEndpoint({ endpoint: id, network, node: to });
            return { endpoint, to };
          } catch (error) {
            reason = error instanceof WeftError ? error.reason : messageOf(error);
          }
        }
        return { endpoint, reason };
      });
      const left = moves.filter(({ to }) => to === undefined);
      const told = moves.map(({ endpoint: { id, network, ips }, ...rest }) => ({ id, network, ips, ...rest }));
      await show(options.output, { node: name, endpoints: told }, () => textOf(name, moves));
      if (left.length > 0) process.exitCode = 1;
    });
  examples(drain, "weft node drain h1", "weft node drain h1 --to h2 --to h3");

  const undrain = node
    .command("undrain <name>")
    .description("let a node have new endpoints again")
    .addOption(serverOption())
    .action(async (name: string, options: WithServer) => {
      const { serverClient } = await import("../admin.ts");
      await serverClient(options.server).setNode({ name, drained: false });
      print(`node ${name} gets new endpoints again\n`);
    });
  examples(undrain, "weft node undrain h1");

  const fail = node
    .command("fail <name>")
    .description(
      "say that a node that is away is dead: others may have its endpoints, and it has none when it comes back",
    )
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput) => {
      const { serverClient } = await import("../admin.ts");
      const { released, takenOver } = await serverClient(options.server).failNode({ name });
      await show(
        options.output,
        { node: name, released, takenOver },
        () =>
          `node ${name} is dead: ${released} endpoints released, ${takenOver} taken over by nodes that stood by; attach them elsewhere with their --mac and --ip\n`,
      );
    });
  examples(fail, "weft node fail h1");
}

function nodes(text: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), nodeName(text)];
}

type Client = ReturnType<typeof import("../admin.ts").serverClient>;

/** Nodes that are connected and get endpoints. */
async function othersThan(name: string, client: Client): Promise<readonly string[]> {
  const { contacts, nodeSettings } = await client.list({ kind: "node" });
  const drained = new Set(nodeSettings.filter((each) => each.drained).map((each) => each.name));
  return contacts
    .filter(({ node, connected }) => connected && node !== name && !drained.has(node))
    .map(({ node }) => node);
}

/** Does something for each, some at a time; the results in the order of what they are of. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  action: (item: Item, number: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const queue = items.entries();
  const work = async (): Promise<void> => {
    for (const [number, item] of queue) results[number] = await action(item, number);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return results;
}

function textOf(name: string, moves: readonly Move[]): string {
  const left = moves.filter(({ to }) => to === undefined);
  const targets = new Map<string, number>();
  for (const { to } of moves) if (to !== undefined) targets.set(to, (targets.get(to) ?? 0) + 1);
  const gone = Array.from(targets, ([to, count]) => `${count} to ${to}`).join(", ") || "none";
  const lines = left.map(
    ({ endpoint: { id, network, ips }, reason }) => `  ${id} of network ${network}, ${ips.join(", ")}: ${reason}\n`,
  );
  return `node ${name} gets no new endpoints; moved: ${gone}${left.length === 0 ? "" : `; ${left.length} stay:`}\n${lines.join("")}`;
}
