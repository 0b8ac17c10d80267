import { type Command, Option } from "commander";
import { WeftError } from "../../base/errors.ts";
import { familyOf, type IpAddress, parseIp } from "../../base/ip.ts";
import type { FloatingAddress } from "../../model/resources.ts";
import { UsageError } from "../errors.ts";
import { address, examples, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { print } from "../terminal.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";
import { addDelete } from "./delete.ts";

type Client = ReturnType<typeof import("../admin.ts")["serverClient"]>;

interface Wish {
  readonly network?: string;
  readonly endpoint?: string;
  readonly announce?: FloatingAddress["announce"];
}

/** A floating address, and where the endpoint is that it stands for; none while no endpoint has the address. */
interface Placed extends FloatingAddress {
  readonly endpointId?: string;
  readonly node?: string;
}

const announceOption = (): Option =>
  new Option(
    "--announce <how>",
    "link: the node answers for it by ARP or neighbour discovery; none: it is routed there",
  ).choices(["link", "none"]);

export function registerFloatingAddress(program: Command): void {
  const floating = program
    .command("floating-address")
    .description("addresses of the underlay, each of which stands for an endpoint");

  const create = floating
    .command("create")
    .argument("<address>", "an address of the underlay that no host has", address)
    .description("let an endpoint be reached under an address of the underlay, wherever it is")
    .requiredOption("--endpoint <endpoint>", "the endpoint's own address, or its id")
    .option("--network <network>", "the network of that address")
    .addOption(announceOption())
    .addOption(waitOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: IpAddress, wish: Wish & WithServer & WithOutput & WithWait) => {
      const { serverClient, declaration, ofKind } = await import("../admin.ts");
      const client = serverClient(wish.server);
      const attempted = `create floating-address ${name}`;
      const draft = await draftOf(client, attempted, name, wish);
      const answer = await client.create({ resources: [declaration({ kind: "floating-address", ...draft })] });
      await show(
        wish.output,
        ofKind("floating-address", answer.resources)[0],
        () => `floating-address ${name} created\n`,
      );
      await waitFor(client, name, wish, [draft.network], answer.revision);
    });
  examples(
    create,
    "weft floating-address create 192.0.2.50 --network web --endpoint 10.1.0.5",
    "weft floating-address create 2001:db8::50 --endpoint 5f0c2a9be871 --announce none",
    "weft floating-address create 192.0.2.50 --network web --endpoint 10.1.0.5 --wait",
  );

  const set = floating
    .command("set")
    .argument("<address>", "the floating address", address)
    .description("let it stand for another endpoint, or be announced otherwise; what is not named stays")
    .option("--endpoint <endpoint>", "the endpoint's own address, or its id")
    .option("--network <network>", "the network of that address")
    .addOption(announceOption())
    .addOption(waitOption())
    .addOption(serverOption())
    .action(async (name: IpAddress, wish: Wish & WithServer & WithWait) => {
      const attempted = `change floating-address ${name}`;
      if (wish.endpoint === undefined && wish.network === undefined && wish.announce === undefined)
        throw new UsageError(attempted, "nothing to change was named", "weft floating-address set --help");
      const { serverClient, declaration } = await import("../admin.ts");
      const client = serverClient(wish.server);
      const [before] = await floatingAddresses(client, name);
      const draft = await draftOf(client, attempted, name, wish, before);
      const answer = await client.apply({ resources: [declaration({ kind: "floating-address", ...draft })] });
      for (const { outcome, differences } of answer.results)
        print(`floating-address ${name} ${outcome}\n${differences.map((line) => `  ${line}\n`).join("")}`);
      // Where it was, too, no node answers for it any more.
      await waitFor(client, name, wish, [draft.network, before?.network ?? draft.network], answer.revision);
    });
  examples(
    set,
    "weft floating-address set 192.0.2.50 --endpoint 10.1.0.6",
    "weft floating-address set 192.0.2.50 --announce none",
  );

  const list = floating
    .command("list")
    .description("list the floating addresses, and where their endpoints are")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const { serverClient } = await import("../admin.ts");
      const client = serverClient(options.server);
      const placed = await placesOf(client, await floatingAddresses(client));
      await show(options.output, placed, (surface) =>
        renderTable(
          [
            { header: "address", value: (row) => row.name },
            { header: "network", value: (row) => row.network },
            { header: "endpoint", value: (row) => row.endpoint },
            { header: "announce", value: (row) => row.announce },
            { header: "node", value: (row) => row.node ?? "" },
          ],
          placed,
          surface,
        ),
      );
    });
  examples(list, "weft floating-address list", "weft floating-address list -o json");

  const one = floating
    .command("show")
    .argument("<address>", "the floating address", address)
    .description("show a floating address, and where its endpoint is")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: IpAddress, options: WithServer & WithOutput) => {
      const { serverClient } = await import("../admin.ts");
      const client = serverClient(options.server);
      for (const found of await placesOf(client, await floatingAddresses(client, name)))
        await show(options.output, found, (surface) =>
          renderFields(
            [
              ["address", found.name],
              ["network", found.network],
              ["endpoint", found.endpoint],
              ["announce", found.announce],
              ["endpoint id", found.endpointId],
              ["node", found.node],
            ],
            surface,
          ),
        );
    });
  examples(one, "weft floating-address show 192.0.2.50");

  addDelete(floating, "floating-address", "delete floating addresses", "192.0.2.50", (text) => {
    const parsed = parseIp(text);
    return parsed.ok ? parsed.value : text;
  });
}

/** The nodes of these networks have what became of it, if that is to be waited for. */
async function waitFor(
  client: Client,
  name: IpAddress,
  { wait }: WithWait,
  networks: readonly string[],
  revision: bigint,
): Promise<void> {
  if (wait === undefined) return;
  await waitInPlace(`floating-address ${name}`, wait, (signal) =>
    client.waitInPlace({ networks: [...new Set(networks)], revision }, { signal }),
  );
}

/** All, or the one of this name. */
async function floatingAddresses(client: Client, name = ""): Promise<FloatingAddress[]> {
  const { ofKind } = await import("../admin.ts");
  return ofKind("floating-address", (await client.list({ kind: "floating-address", name })).resources);
}

async function placesOf(client: Client, floating: readonly FloatingAddress[]): Promise<Placed[]> {
  const { ofKind } = await import("../admin.ts");
  const networks = [...new Set(floating.map(({ network }) => network))];
  const answers = await Promise.all(networks.map((network) => client.list({ kind: "endpoint", network })));
  const endpoints = answers.flatMap(({ resources }) => ofKind("endpoint", resources));
  const byAddress = new Map(
    endpoints.flatMap(({ floatingAddresses = [], ...endpoint }) =>
      floatingAddresses.map(({ name }) => [name, endpoint]),
    ),
  );
  return floating.map((each) => {
    const endpoint = byAddress.get(each.name);
    return endpoint === undefined ? each : { ...each, endpointId: endpoint.id, node: endpoint.node };
  });
}

/** What is declared; `before`: what is there and stays where it is not named. */
async function draftOf(
  client: Client,
  attempted: string,
  name: IpAddress,
  wish: Wish,
  before?: FloatingAddress,
): Promise<FloatingAddress> {
  const { parseEndpointId, parseFloatingAddress, formatProblem } = await import("../../model/index.ts");
  const { network = before?.network, endpoint = before?.endpoint, announce = before?.announce } = wish;
  const place = parseEndpointId(endpoint ?? "").ok
    ? await placeOfEndpoint(client, attempted, name, endpoint ?? "", wish.network)
    : { network, endpoint };
  const draft = parseFloatingAddress({ name, ...place, announce });
  if (!draft.ok) throw new UsageError(attempted, draft.error.map(formatProblem).join("; "));
  return draft.value;
}

/** The network of an endpoint, and its address of the floating one's family. */
async function placeOfEndpoint(client: Client, attempted: string, name: IpAddress, id: string, network?: string) {
  const { ofKind } = await import("../admin.ts");
  const [found] = ofKind("endpoint", (await client.list({ kind: "endpoint", name: id })).resources);
  const own = found?.ips.find((ip) => familyOf(ip) === familyOf(name));
  if (found !== undefined && own !== undefined && (network ?? found.network) === found.network)
    return { network: found.network, endpoint: own };
  const reason =
    own === undefined ? `endpoint ${id} has no IPv${familyOf(name)} address` : `it is in network ${found?.network}`;
  throw new WeftError({
    code: "failed-precondition",
    attempted,
    reason,
    hint: `see the endpoint with: weft endpoint show ${id}`,
  });
}
