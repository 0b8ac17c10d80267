import { type Ipv4Address, ip, ipv4FromNumber } from "../../base/ip.ts";
import { type Dhcpv4Message, type Dhcpv4Option, dhcpv4Options } from "../../wire/index.ts";
import { addressesOf, type Configuration, type Ipv4Configuration } from "./configuration.ts";

const unspecified = ip("0.0.0.0") as Ipv4Address;
/** RFC 2131 §2: octets of an IP packet with a message that every client takes, and those of the headers in front of the options. */
const smallestMaximum = 576;
const beforeOptions = 20 + 8 + 240;

type Named = Extract<Dhcpv4Option["type"], string>;
type OptionOf<Type extends Named> = Extract<Dhcpv4Option, { readonly type: Type }>;

/** What becomes of a message. `declined`: the endpoint says that somebody else has its address. */
export interface Answer<Message> {
  readonly reply?: Message;
  readonly declined?: true;
}

/**
 * Answers a client as a server that knows one client and one address. RFC 2131 §4.3. Nothing is kept: the address is the endpoint's
 * as long as that is there, whatever it renews or releases.
 */
export function answerDhcpv4(request: Dhcpv4Message, configuration: Configuration): Answer<Dhcpv4Message> {
  const { ipv4, mac } = configuration;
  // A relay agent speaks for others, and there are none behind a port.
  if (request.operation !== "request" || request.clientMac !== mac || request.relayAgent !== unspecified) return {};
  if (ipv4 === undefined) return {};
  const server = optionOf(request, "server-identifier")?.address;
  const asked = optionOf(request, "requested-address")?.address;
  switch (optionOf(request, "message-type")?.messageType) {
    case "discover":
      return { reply: replyTo(request, "offer", configuration, ipv4) };
    case "request": {
      // It has chosen another server.
      if (server !== undefined && server !== ipv4.server) return {};
      const wanted = asked ?? (request.clientAddress === unspecified ? undefined : request.clientAddress);
      if (wanted === undefined) return {};
      return { reply: replyTo(request, wanted === ipv4.address ? "ack" : "nak", configuration, ipv4) };
    }
    case "inform":
      return request.clientAddress === ipv4.address ? { reply: replyTo(request, "ack", configuration, ipv4) } : {};
    case "decline":
      return asked === ipv4.address ? { declined: true } : {};
    default:
      return {};
  }
}

/** Where the reply goes: RFC 2131 §4.1. */
export function isBroadcast({ broadcast, clientAddress, options }: Dhcpv4Message): boolean {
  const isRefusal = options.some((option) => option.type === "message-type" && option.messageType === "nak");
  return isRefusal || (clientAddress === unspecified && broadcast);
}

function replyTo(
  request: Dhcpv4Message,
  messageType: "offer" | "ack" | "nak",
  configuration: Configuration,
  ipv4: Ipv4Configuration,
): Dhcpv4Message {
  const isInform = optionOf(request, "message-type")?.messageType === "inform";
  const identity = optionOf(request, "client-identifier");
  const needed: Dhcpv4Option[] = [
    { type: "message-type", messageType },
    { type: "server-identifier", address: ipv4.server },
    // RFC 6842.
    ...(identity === undefined ? [] : [identity]),
  ];
  const isRefusal = messageType === "nak";
  const { bootServer = unspecified, bootFile = "" } = configuration.told;
  const options = isRefusal
    ? [...needed, refusal(ipv4)]
    : fitting(
        [...needed, ...(isInform ? [] : lease(configuration)), ...parameters(configuration, ipv4)],
        optionOf(request, "maximum-message-size")?.octets,
      );
  return {
    ...request,
    operation: "reply",
    hops: 0,
    seconds: 0,
    clientAddress: isRefusal ? unspecified : request.clientAddress,
    yourAddress: isRefusal || isInform ? unspecified : ipv4.address,
    nextServer: isRefusal ? unspecified : bootServer,
    serverName: "",
    bootFile: isRefusal ? "" : bootFile,
    options: [...options, { type: "end" }],
  };
}

function refusal({ address }: Ipv4Configuration): Dhcpv4Option {
  return { type: "message", text: `the address of this endpoint is ${address}` };
}

/** RFC 2131 §4.4.5: half of the time, and seven eighths. */
function lease({ told: { leaseTime } }: Configuration): Dhcpv4Option[] {
  return [
    { type: "lease-time", seconds: leaseTime },
    { type: "renewal-time", seconds: Math.floor(leaseTime / 2) },
    { type: "rebinding-time", seconds: Math.floor((leaseTime * 7) / 8) },
  ];
}

/** What matters most comes first. */
function parameters({ told, mtu, hostName }: Configuration, ipv4: Ipv4Configuration): Dhcpv4Option[] {
  const dns = addressesOf(told.dns, 4) as Ipv4Address[];
  const ntp = addressesOf(told.ntp, 4) as Ipv4Address[];
  const { bootServer, bootFile, domain } = told;
  const mask = ipv4FromNumber((2 ** 32 - 2 ** (32 - ipv4.prefixLength)) >>> 0);
  return [
    { type: "subnet-mask", mask },
    // RFC 3442: who reads the routes does not look at the routers.
    ...(ipv4.routes.length === 0 ? [] : [{ type: "classless-routes", routes: ipv4.routes } as const]),
    ...(ipv4.routers.length === 0 ? [] : [{ type: "routers", addresses: ipv4.routers } as const]),
    { type: "interface-mtu", mtu },
    ...(dns.length === 0 ? [] : [{ type: "dns-servers", addresses: dns } as const]),
    { type: "host-name", text: hostName },
    ...(domain === undefined ? [] : [{ type: "domain-name", text: domain } as const]),
    ...(ntp.length === 0 ? [] : [{ type: "ntp-servers", addresses: ntp } as const]),
    ...(bootServer === undefined ? [] : [{ type: "tftp-server-name", text: bootServer } as const]),
    ...(bootFile === undefined ? [] : [{ type: "boot-file-name", text: bootFile } as const]),
  ];
}

/** As many as the client takes, from the first on. */
function fitting(options: readonly Dhcpv4Option[], maximum = smallestMaximum): Dhcpv4Option[] {
  const room = Math.max(maximum, smallestMaximum) - beforeOptions - 1;
  const taken: Dhcpv4Option[] = [];
  for (const option of options) if (dhcpv4Options.lengthOf([...taken, option]) <= room) taken.push(option);
  return taken;
}

/** The first of the type. */
function optionOf<Type extends Named>({ options }: Dhcpv4Message, type: Type): OptionOf<Type> | undefined {
  return options.find((option): option is OptionOf<Type> => option.type === type);
}
