import { equalBytes } from "../../base/bytes.ts";
import { cidrContains } from "../../base/cidr.ts";
import type { Ipv6Address } from "../../base/ip.ts";
import { macToBytes } from "../../base/mac.ts";
import type { Dhcpv6AssociationOption, Dhcpv6Message, Dhcpv6Option } from "../../wire/index.ts";
import { addressesOf, type Configuration, type Ipv6Configuration } from "./configuration.ts";
import type { Answer } from "./dhcpv4.ts";

type Named = Extract<Dhcpv6Option["type"], string>;
type OptionOf<Type extends Named> = Extract<Dhcpv6Option, { readonly type: Type }>;
type Association = OptionOf<"addresses">;
type Status = Extract<Dhcpv6Option, { readonly type: "status-code" }>["status"];

/**
 * Answers a client as a server that knows one client and one address. RFC 8415 §18.3. Nothing is kept: the address is the endpoint's
 * as long as that is there, whatever it renews or releases.
 */
export function answerDhcpv6(request: Dhcpv6Message, configuration: Configuration): Answer<Dhcpv6Message> {
  const { ipv6 } = configuration;
  if (ipv6 === undefined || !isForThisServer(request, configuration)) return {};
  const reply = (options: readonly Dhcpv6Option[], type: "reply" | "advertise" = "reply"): Answer<Dhcpv6Message> => ({
    reply: {
      type,
      transaction: request.transaction,
      options: [...identities(request, configuration), ...options, ...refusedPrefixes(request)],
    },
  });
  const associations = all(request, "addresses");
  switch (request.type) {
    case "solicit": {
      const isRapid = optionOf(request, "rapid-commit") !== undefined;
      const given = [...associations.map(giving(configuration, ipv6)), ...parameters(configuration)];
      return isRapid ? reply([{ type: "rapid-commit" }, ...given]) : reply(given, "advertise");
    }
    case "request":
      return reply([
        ...associations.map((each) =>
          isOnLink(each, ipv6) ? giving(configuration, ipv6)(each, 0) : refused(each, "not-on-link"),
        ),
        ...parameters(configuration),
      ]);
    case "renew":
    case "rebind":
      return reply([...associations.map(renewing(configuration, ipv6)), ...parameters(configuration)]);
    case "confirm": {
      const addresses = associations.flatMap(addressesIn);
      if (addresses.length === 0) return {};
      return reply([status(addresses.every((address) => address === ipv6.address) ? "success" : "not-on-link")]);
    }
    case "release":
      return reply([status("success")]);
    case "decline": {
      const isOwn = associations.flatMap(addressesIn).includes(ipv6.address);
      return { ...reply([status("success")]), ...(isOwn ? { declined: true } : {}) };
    }
    case "information-request":
      return associations.length > 0 ? {} : reply(parameters(configuration));
    default:
      return {};
  }
}

/** DUID-LL of the network's MAC. RFC 8415 §11.4. */
function serverIdentifier({ serverMac }: Configuration): Uint8Array {
  return Uint8Array.of(0, 3, 0, 1, ...macToBytes(serverMac));
}

/** Whether the identifiers are such as the message must have. RFC 8415 §16. */
function isForThisServer(request: Dhcpv6Message, configuration: Configuration): boolean {
  const server = optionOf(request, "server-identifier")?.identifier;
  const isOurs = server !== undefined && equalBytes(server, serverIdentifier(configuration));
  const hasClient = optionOf(request, "client-identifier") !== undefined;
  switch (request.type) {
    case "solicit":
    case "confirm":
    case "rebind":
      return hasClient && server === undefined;
    case "request":
    case "renew":
    case "release":
    case "decline":
      return hasClient && isOurs;
    default:
      return server === undefined || isOurs;
  }
}

function identities(request: Dhcpv6Message, configuration: Configuration): Dhcpv6Option[] {
  const client = optionOf(request, "client-identifier");
  return [
    { type: "server-identifier", identifier: serverIdentifier(configuration) },
    ...(client === undefined ? [] : [client]),
  ];
}

/** The first association gets the address, and others nothing: there is one. */
function giving(configuration: Configuration, { address }: Ipv6Configuration) {
  return (association: Association, index: number): Association =>
    index === 0
      ? withTimes(association, configuration, [lasting(address, configuration)])
      : refused(association, "no-addresses-available");
}

/** What it has beside the address ends; the address it has, or gets. RFC 8415 §18.3.4. */
function renewing(configuration: Configuration, { address }: Ipv6Configuration) {
  return (association: Association, index: number): Association => {
    const ended = addressesIn(association)
      .filter((each) => index > 0 || each !== address)
      .map(ending);
    const lasts = index > 0 ? [] : [lasting(address, configuration)];
    return withTimes(association, configuration, [...lasts, ...ended]);
  };
}

/** Half of the time, and four fifths: RFC 8415 §21.4. */
function withTimes(
  { type, identifier }: Association,
  { told: { leaseTime } }: Configuration,
  options: readonly Dhcpv6AssociationOption[],
): Association {
  return { type, identifier, t1: Math.floor(leaseTime / 2), t2: Math.floor((leaseTime * 4) / 5), options };
}

function lasting(address: Ipv6Address, { told: { leaseTime } }: Configuration): Dhcpv6AssociationOption {
  return { type: "address", address, preferredLifetime: leaseTime, validLifetime: leaseTime, options: [] };
}

function ending(address: Ipv6Address): Dhcpv6AssociationOption {
  return { type: "address", address, preferredLifetime: 0, validLifetime: 0, options: [] };
}

function refused({ type, identifier }: Association, why: Status): Association {
  return { type, identifier, t1: 0, t2: 0, options: [status(why)] };
}

/** Prefixes nobody has to give. RFC 8415 §18.3.2. */
function refusedPrefixes(request: Dhcpv6Message): Dhcpv6Option[] {
  const isAsking =
    request.type === "solicit" || request.type === "request" || request.type === "renew" || request.type === "rebind";
  if (!isAsking) return [];
  return all(request, "prefixes").map(({ identifier }) => ({
    ...{ type: "prefixes", identifier, t1: 0, t2: 0 },
    options: [status("no-prefix-available")],
  }));
}

function parameters({ told: { dns, domain, ntp } }: Configuration): Dhcpv6Option[] {
  const servers = addressesOf(dns, 6) as Ipv6Address[];
  const clocks = addressesOf(ntp, 6) as Ipv6Address[];
  return [
    ...(servers.length === 0 ? [] : [{ type: "dns-servers", addresses: servers } as const]),
    ...(domain === undefined ? [] : [{ type: "domain-search", domains: [domain] } as const]),
    ...clocks.map((address) => ({ type: "ntp-servers", servers: [{ type: "address", address }] }) as const),
  ];
}

function isOnLink(association: Association, { subnets }: Ipv6Configuration): boolean {
  return addressesIn(association).every((address) => subnets.some((subnet) => cidrContains(subnet, address)));
}

function addressesIn({ options }: Association): Ipv6Address[] {
  return options.flatMap((option) => (option.type === "address" ? [option.address] : []));
}

function status(code: Status) {
  return { type: "status-code", status: code, text: "" } as const;
}

function all<Type extends Named>({ options }: Dhcpv6Message, type: Type): OptionOf<Type>[] {
  return options.filter((option): option is OptionOf<Type> => option.type === type);
}

/** The first of the type. */
function optionOf<Type extends Named>(message: Dhcpv6Message, type: Type): OptionOf<Type> | undefined {
  return all(message, type)[0];
}
