import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { Bandwidth } from "../../model/bandwidth.ts";
import { longestUserData } from "../../model/dhcp.ts";
import { parsePublishedPort, publishedPortText } from "../../model/published-port.ts";
import { bandwidthOption, endpointBandwidthHelp } from "../bandwidth-option.ts";
import {
  address,
  addresses,
  agentOption,
  examples,
  integer,
  macAddress,
  outputOption,
  prefixes,
  type WithAgent,
  type WithOutput,
} from "../options.ts";
import { plain, show } from "../output.ts";
import { printable } from "../terminal.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";
import {
  type PlaceOptions,
  placeOf,
  placeOptions,
  placeText,
  requirePlace,
  type TapOptions,
  tapOf,
  tapOptions,
} from "./attach-place.ts";
import { nodeSelector } from "./node-options.ts";

type Common = PlaceOptions & WithAgent & WithOutput;

export function registerAttach(program: Command): void {
  const attach = tapOptions(
    placeOptions(
      program
        .command("attach <network>")
        .description("attach a container by an interface in its namespace, or a virtual machine by a tap"),
    ),
  )
    .option("--ip <address>", "the endpoint's address; repeat it for both families (default: chosen)", addresses)
    .option("--mac <address>", "the endpoint's MAC address (default: follows from its first IP address)", macAddress)
    .option(
      "--route-priority <number>",
      "of a container's networks the lowest gives its default route (default: after those attached before)",
      integer(1, 99_999),
    )
    .option(
      "--allowed-address <address>",
      "ADDRESS, PREFIX or either with ,MAC: what it may send with beside its own, such as a virtual address; repeat it",
      allowedAddress,
    )
    .option(
      "--bandwidth <limits>",
      `in place of what the network says for each endpoint: ${endpointBandwidthHelp}`,
      bandwidthOption,
    )
    .option("--label <label>", "NAME=VALUE: what policies know the endpoint by; repeat it", nodeSelector)
    .option(
      "--standby <endpoint>",
      "make ready to take over this endpoint of another node, by id, MAC or address: as soon as it announces itself here, or by weft migrate",
    )
    .option(
      "--user-data <file>",
      `what cloud-init on it reads, of at most ${longestUserData} octets: its network must answer for metadata`,
    )
    .option(
      "--publish <port>",
      "[ADDRESS:]PORT[:PORT][/PROTOCOL]: a port of this node that leads to one of the endpoint, tcp unless told; repeat it",
      publishedPort,
    )
    .option("--movable", "other nodes may stand by for it, and take it over, without an administrator's word")
    .addOption(waitOption())
    .addOption(agentOption())
    .addOption(outputOption())
    .action(
      async (
        network: string,
        options: Common &
          TapOptions &
          WithWait & {
            readonly ip?: readonly IpAddress[];
            readonly mac?: MacAddress;
            readonly routePriority?: number;
            readonly allowedAddress?: readonly AllowedAddressText[];
            readonly bandwidth?: Bandwidth;
            readonly label?: Readonly<Record<string, string>>;
            readonly standby?: string;
            readonly movable?: true;
            readonly userData?: string;
            readonly publish?: readonly string[];
          },
      ) => {
        const place = placeOf(attach, options);
        const tap = await tapOf(attach, options);
        await requirePlace(place, network);
        const userData = options.userData === undefined ? undefined : await readUserData(options.userData, network);
        const { agentClient } = await import("../../api/clients.ts");
        const answer = await agentClient(options.agent).attach({
          network,
          ...place,
          ...(tap === undefined ? {} : { tap }),
          mac: options.mac ?? "",
          ips: [...(options.ip ?? [])],
          routePriority: options.routePriority ?? 0,
          allowedAddresses: [...(options.allowedAddress ?? [])],
          labels: { ...options.label },
          standby: options.standby ?? "",
          movable: options.movable === true,
          published: [...(options.publish ?? [])],
          ...(userData === undefined ? {} : { userData }),
          ...(options.bandwidth === undefined ? {} : { bandwidth: options.bandwidth }),
        });
        const { endpoint, mtu, addresses: given } = plain(answer);
        const { interface: name } = answer;
        const shown = { endpoint, ...place, interface: name, mtu, addresses: given };
        await show(
          options.output,
          shown,
          () =>
            `${placeText(place, options)}: ${given.join(", ")}, MAC ${endpoint?.mac}, MTU ${mtu}, endpoint ${endpoint?.id}${options.standby === undefined ? "" : `, on node ${endpoint?.node} until it announces itself here`}\n`,
        );
        if (options.wait !== undefined)
          await waitInPlace(`the endpoint in network ${network}`, options.wait, (signal) =>
            agentClient(options.agent).waitInPlace({ networks: [network], revision: answer.revision }, { signal }),
          );
      },
    );
  examples(
    attach,
    "weft attach web --netns red",
    "weft attach web --netns red --wait 10s",
    "weft attach web --netns red --label app=shop --label tier=front",
    "weft attach web --netns red --bandwidth send=20Mbit --bandwidth receive=50Mbit,burst=100000",
    "weft attach web --netns lb1 --allowed-address 10.1.0.100,00:00:5e:00:01:33",
    "weft attach web --tap vm1 --owner libvirt-qemu --mac 52:54:00:00:00:01",
    "weft attach web --tap vm1 --ip 10.1.0.9 --movable",
    "weft attach web --tap vm1 --standby 10.1.0.9",
    "weft attach web --tap vm1 --label hostname=web-1 --user-data web-1.yaml",
    "weft attach web --interface vnet7 --ip 10.1.0.9",
    "weft attach web --netns /proc/4711/ns/net --interface net1 --ip 10.1.0.7 --mac 02:00:5e:10:00:01",
  );

  const detach = placeOptions(
    program.command("detach <network>").description("detach what is attached there, and release its addresses"),
  )
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (network: string, options: Common) => {
      const place = placeOf(detach, options);
      const { agentClient } = await import("../../api/clients.ts");
      const { endpoint } = await agentClient(options.agent).detach({ network, ...place });
      await show(options.output, { endpoint: endpoint === "" ? undefined : endpoint }, () =>
        endpoint === ""
          ? `nothing of network ${printable(network)} was attached as ${placeText(place, options)}\n`
          : `${placeText(place, options)}: endpoint ${endpoint} released\n`,
      );
    });
  examples(detach, "weft detach web --netns red", "weft detach web --tap vm1");
}

async function readUserData(file: string, network: string): Promise<Uint8Array> {
  try {
    const content = await readFile(file);
    if (content.length > 0) return content;
    throw new Error("it is empty");
  } catch (error) {
    throw new WeftError({
      code: "invalid-argument",
      attempted: `attach to network ${network} with the user data in ${file}`,
      reason: messageOf(error),
      hint: "name a file with what cloud-init shall read",
    });
  }
}

/** As the agent takes it. */
function publishedPort(text: string, previous: readonly string[] | undefined): readonly string[] {
  const parsed = parsePublishedPort(text);
  if (!parsed.ok) throw new InvalidArgumentError(`Allowed: ${parsed.error}`);
  return [...(previous ?? []), publishedPortText(parsed.value)];
}

interface AllowedAddressText {
  readonly prefix: string;
  readonly mac: string;
}

function allowedAddress(
  text: string,
  previous: readonly AllowedAddressText[] | undefined,
): readonly AllowedAddressText[] {
  const [of = "", mac, ...more] = text.split(",");
  if (more.length > 0)
    throw new InvalidArgumentError("Allowed: an address or a prefix, and behind a comma a MAC address");
  const prefix = of.includes("/") ? prefixes(of, undefined)[0] : address(of);
  return [...(previous ?? []), { prefix: prefix ?? "", mac: mac === undefined ? "" : macAddress(mac) }];
}
