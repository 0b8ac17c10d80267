import { z } from "zod";
import { parseInterfaceAddress } from "../../base/cidr.ts";
import { familyOf, parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { type Bandwidth, type RateLimits, smallestBurst } from "../../model/bandwidth.ts";
import { labelsOfNames } from "../../model/endpoint-names.ts";
import { parseNetworkName } from "../../model/names.ts";
import type { Labels } from "../../model/policy/index.ts";
import { isEveryAddress } from "../../model/published-port.ts";
import type { Pod } from "../../model/resources.ts";
import type { Parameters } from "./environment.ts";
import { CniError, errorCode } from "./error.ts";
import { parseCniName } from "./texts.ts";
import { type CniVersion, parseVersion } from "./version.ts";

/** The `type` of plugin configurations that are weft's. */
export const pluginType = "weft";

/** What every call says: whose configuration it is, and which plugin gives the addresses. */
export interface Configuration {
  readonly version: CniVersion;
  /** Of the network configuration: the runtime's word for the network. */
  readonly name: string;
  /** weft gives addresses alone, to another plugin that makes the interface. */
  readonly isIpam: boolean;
  /** The plugin that gives weft addresses. Absent: weft gives them. */
  readonly delegate?: string;
  readonly prevResult?: Readonly<Record<string, unknown>>;
  readonly validAttachments?: readonly { readonly containerID: string; readonly ifname: string }[];
  readonly fields: Fields;
  /** As it came. */
  readonly text: string;
}

/** What is to be attached, and how. */
export interface Wishes {
  readonly network: string;
  readonly ips: readonly string[];
  /** Empty: none in particular. */
  readonly mac: string;
  readonly bandwidth?: Bandwidth;
  readonly labels: Labels;
  /** Ports of this node that shall lead to it, as operators give them. */
  readonly published: readonly string[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

const texts = z.array(z.string());
const bits = z.number().nonnegative();
const bandwidthSchema = z.object({
  ingressRate: bits.optional(),
  ingressBurst: bits.optional(),
  egressRate: bits.optional(),
  egressBurst: bits.optional(),
});
const dnsSchema = z.object({
  nameservers: texts.optional(),
  domain: z.string().optional(),
  search: texts.optional(),
  options: texts.optional(),
});
/** What wishes are expressed in, wherever they stand. */
const wishes = { ips: texts.optional(), mac: z.string().optional(), bandwidth: bandwidthSchema.optional() };
const port = z.number().int().min(0).max(65_535);
/** One of the conventions' `portMappings`. */
const portMappingSchema = z.object({
  hostPort: port,
  containerPort: port,
  protocol: z.string().default("tcp"),
  hostIP: z.string().default(""),
});
/** By the name of the network configuration: what podman says. */
const aliasesSchema = z.record(z.string(), texts.nullish());
const schema = z.looseObject({
  name: z.string(),
  type: z.string(),
  network: z.string().optional(),
  ipam: z.looseObject({ type: z.string().optional(), network: z.string().optional() }).optional(),
  dns: dnsSchema.optional(),
  args: z.looseObject({ cni: z.looseObject({ ...wishes, network: z.string().optional() }).optional() }).optional(),
  runtimeConfig: z
    .looseObject({
      ...wishes,
      portMappings: z.array(portMappingSchema).nullish(),
      aliases: aliasesSchema.nullish(),
    })
    .optional(),
  prevResult: z.looseObject({}).nullish(),
  "cni.dev/valid-attachments": z.array(z.object({ containerID: z.string(), ifname: z.string() })).nullish(),
});
type Fields = z.infer<typeof schema>;

/** Fields of a configuration of weft's; those with a slash in their name are the runtime's and may be any. */
const knownFields: ReadonlySet<string> = new Set([
  ...Object.keys(schema.shape),
  "cniVersion",
  "agentSocket",
  "capabilities",
  "disableCheck",
  "disableGC",
]);
const knownIpamFields: ReadonlySet<string> = new Set(["type", "network"]);

export function parseConfiguration(text: string): Configuration {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CniError(errorCode.undecodable, "the configuration on standard input is no JSON", `${error}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new CniError(errorCode.undecodable, "the configuration on standard input is no JSON object");
  const version = parseVersion((value as { readonly cniVersion?: unknown }).cniVersion);
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new CniError(
      errorCode.invalidConfiguration,
      parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "),
    );
  const fields = parsed.data;
  const name = parseCniName(fields.name);
  if (!name.ok) throw invalid("name", fields.name, name.error);
  const isIpam = fields.type !== pluginType && fields.ipam?.type === pluginType;
  const { type: delegate = "" } = fields.ipam ?? {};
  const attachments = fields["cni.dev/valid-attachments"];
  return {
    version,
    name: name.value,
    isIpam,
    ...(isIpam || delegate === "" || delegate === pluginType ? {} : { delegate }),
    ...(fields.prevResult == null ? {} : { prevResult: fields.prevResult }),
    ...(attachments == null ? {} : { validAttachments: attachments }),
    fields,
    text,
  };
}

/**
 * The network, and what the runtime wants of it: what is about one container precedes what is in the configuration of all. A pod's own
 * interface is one for which the runtime names no network; for others it may name those that the pod may be in.
 */
export function parseWishes({ fields, isIpam, delegate }: Configuration, args: Parameters["args"], pod?: Pod): Wishes {
  requireKnown(isIpam ? {} : fields, knownFields);
  const named = namedNetwork({ fields, isIpam }, args);
  if (delegate === undefined) requireKnown(fields.ipam ?? {}, knownIpamFields, "ipam.");
  const { runtimeConfig = {}, args: { cni = {} } = {} } = fields;
  const own = named === undefined ? pod : undefined;
  const network = named ?? own?.networks[0] ?? "";
  const name = parseNetworkName(network);
  if (!name.ok)
    throw invalid(
      isIpam ? "ipam.network" : "network",
      network,
      `the name of a network of weft, ${name.error}; or WEFT_NETWORK in CNI_ARGS`,
    );
  if (pod?.networks.includes(network) === false)
    throw invalid("network", network, `${pod.networks.join(", ")}, which are those of pod ${pod.title}`);
  const ips = runtimeConfig.ips ?? cni.ips ?? args.get("IP")?.split(",") ?? own?.ips ?? [];
  const mac = runtimeConfig.mac ?? cni.mac ?? args.get("MAC") ?? own?.mac ?? "";
  if (mac !== "" && !parseMac(mac).ok) throw invalid("mac", mac, "a MAC address");
  const bandwidth = bandwidthOf(runtimeConfig.bandwidth ?? cni.bandwidth ?? {});
  return {
    network,
    ips: ips.map(addressOf),
    mac,
    ...(bandwidth === undefined ? {} : { bandwidth }),
    labels: pod === undefined ? labelsOfNames(namesOf(fields, args)) : (pod.labels ?? {}),
    published: isIpam ? [] : (runtimeConfig.portMappings ?? []).flatMap(publishedOf),
    ...(fields.dns === undefined ? {} : { dns: fields.dns }),
  };
}

/** `undefined`: neither the runtime nor the configuration names one. */
export function namedNetwork(
  { fields, isIpam }: Pick<Configuration, "fields" | "isIpam">,
  args: Parameters["args"],
): string | undefined {
  const { args: { cni = {} } = {}, ipam, network } = fields;
  return args.get("WEFT_NETWORK") ?? cni.network ?? ipam?.network ?? (isIpam ? undefined : network);
}

/** What runtimes call the container: podman, and those of pods where the agent is told of none. */
function namesOf({ name, runtimeConfig }: Fields, args: Parameters["args"]): readonly string[] {
  return [args.get("K8S_POD_NAME") ?? "", ...(runtimeConfig?.aliases?.[name] ?? [])];
}

/** A host port of 0 is none that is asked for. */
function publishedOf({ hostPort, containerPort, protocol, hostIP }: z.infer<typeof portMappingSchema>): string[] {
  if (hostPort === 0) return [];
  const text = `${hostPort}:${containerPort}/${protocol.toLowerCase()}`;
  if (hostIP === "") return [text];
  const address = parseIp(hostIP);
  if (!address.ok) throw invalid("portMappings", hostIP, "as hostIP an IP address");
  if (isEveryAddress(address.value)) return [text];
  return [familyOf(address.value) === 4 ? `${address.value}:${text}` : `[${address.value}]:${text}`];
}

/** With the length of its subnet or without: that is the network's. */
function addressOf(text: string): string {
  const within = parseInterfaceAddress(text);
  if (within.ok) return within.value.address;
  if (parseIp(text).ok) return text;
  throw invalid("ips", text, "IP addresses, with a prefix length or without");
}

/** Bits, and bits each second, as the conventions of CNI say; ingress is what the container receives. 0: no limit. */
function bandwidthOf({
  ingressRate = 0,
  ingressBurst = 0,
  egressRate = 0,
  egressBurst = 0,
}: z.infer<typeof bandwidthSchema>): Bandwidth | undefined {
  const limits = (rate: number, burst: number): RateLimits | undefined =>
    rate === 0
      ? undefined
      : // Which rates and bursts there may be, the attachment knows.
        { limit: `${Math.round(rate / 1000)}kbit` as never, ...burstOf(burst) };
  const [send, receive] = [limits(egressRate, egressBurst), limits(ingressRate, ingressBurst)];
  if (send === undefined && receive === undefined) return undefined;
  return { ...(send === undefined ? {} : { send }), ...(receive === undefined ? {} : { receive }) };
}

/** Octets. Runtimes that were told nothing of bursts say 2^31 - 1 bits. */
function burstOf(bitsAtOnce: number): Pick<RateLimits, "burst"> {
  if (bitsAtOnce === 0 || bitsAtOnce >= 2 ** 31 - 1) return {};
  return { burst: Math.max(smallestBurst, Math.round(bitsAtOnce / 8)) };
}

function requireKnown(found: Readonly<Record<string, unknown>>, known: ReadonlySet<string>, prefix = ""): void {
  for (const [key, value] of Object.entries(found))
    if (!known.has(key) && !key.includes("/"))
      throw new CniError(
        errorCode.unsupportedField,
        `unsupported field in the configuration: ${prefix}${key}: ${JSON.stringify(value)}`,
        `known: ${[...known].join(", ")}; what else there is to choose is the network's: weft network set`,
      );
}

function invalid(field: string, found: string, allowed: string): CniError {
  return new CniError(errorCode.invalidConfiguration, `${field}: found "${found}"; allowed: ${allowed}`);
}
