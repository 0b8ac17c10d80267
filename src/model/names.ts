import { familyOf, type IpAddress, ipToBytes } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { encapsulations, encapsulationsThat, type TunnelEncapsulation } from "./encapsulation.ts";
import type { Vni } from "./resources.ts";

/** Longest name of a tenant: it also names a network namespace, together with the instance. */
const maxTenantName = 40;
/** Longest name of a network or node: one RFC 1123 label. */
const maxLabel = 63;

/** Label of RFC 1123 §2.1 (RFC 952 with a leading digit allowed), lower case only so that `===` compares names. */
const labelPattern = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const endpointIdPattern = /^[0-9a-f]{12}$/;
const instancePattern = /^[a-z][a-z0-9]{0,15}$/;

/** A parser of one text field. Its error says what is allowed, not what was found. */
export type TextParser<Value> = (text: string) => Result<Value, string>;

export const parseTenantName: TextParser<string> = (text) => parseLabel(text, maxTenantName);
export const parseNetworkName: TextParser<string> = (text) => parseLabel(text, maxLabel);
export const parseNodeName: TextParser<string> = (text) => parseLabel(text, maxLabel);

/** The id of an endpoint: 12 hexadecimal digits, lower case. */
export const parseEndpointId: TextParser<string> = (text) =>
  endpointIdPattern.test(text) ? ok(text) : err("12 hexadecimal digits, lower case");

/**
 * The name of one of several agents on a machine. Without hyphens, so that `<instance>-<tenant>` can be read
 * back in one way only: instance `weft` never takes a namespace of instance `weft2` for its own.
 */
export const parseInstanceName: TextParser<string> = (text) =>
  instancePattern.test(text)
    ? ok(text)
    : err("1 to 16 lower-case letters and digits, beginning with a letter, without hyphens");

/**
 * A name that the kernel accepts for a network interface: `dev_valid_name()` in net/core/dev.c, less `%`, which
 * makes the name a template (`__dev_alloc_name()`), and less `all` and `default`, which stand for other things
 * under /proc/sys/net (`sysctl_dev_name_is_allowed()`).
 */
export const parseInterfaceName: TextParser<string> = (text) => {
  const bytes = new TextEncoder().encode(text);
  const valid =
    bytes.length >= 1 &&
    bytes.length <= 15 &&
    !["all", "default", ".", ".."].includes(text) &&
    !bytes.some(isForbiddenInInterfaceName);
  return valid
    ? ok(text)
    : err(
        'an interface name of 1 to 15 bytes without white space, "/", ":" or "%", and not ".", "..", "all" or "default"',
      );
};

/** The kernel tests bytes, and its isspace() (lib/ctype.c) counts 0xa0, the second byte of `à`, as white space. */
function isForbiddenInInterfaceName(byte: number): boolean {
  const isSpace = (byte >= 9 && byte <= 13) || byte === 0x20 || byte === 0xa0;
  return byte === 0 || isSpace || byte === 0x2f || byte === 0x3a || byte === 0x25;
}

/** The namespace of a tenant: `<instance>-<tenant>`, at most 57 bytes of the 255 that a file name may have. */
export function namespaceName(instance: string, tenant: string): string {
  return `${instance}-${tenant}`;
}

/** The tenant whose namespace this is, or `undefined` when the namespace is not one of this instance. */
export function tenantOfNamespace(instance: string, namespace: string): string | undefined {
  if (!namespace.startsWith(`${instance}-`)) return undefined;
  const tenant = parseTenantName(namespace.slice(instance.length + 1));
  return tenant.ok ? tenant.value : undefined;
}

/** The bridge of an l2 network. */
export function bridgeName(vni: Vni): string {
  return `br${vni}`;
}

/** An encapsulation as it is sent: what tells one tunnel of a network from another while the network changes. */
export interface Transport {
  readonly encapsulation: TunnelEncapsulation;
  /** UDP destination port; 0 where the encapsulation has none. */
  readonly port: number;
}

/**
 * The tunnel device of a network that leads to `peer`. Where one serves all VTEPs: `vx100`, and `vx100p2118` for port 8472
 * (2118 hexadecimal), so that two ports can be served beside each other. Where each VTEP takes a device: `g2s-c0000201` leads
 * to 192.0.2.1 in VNI 100 (2s in base 36); IPv6 addresses and unusual ports are in it as a hash of 41 bits. 15 bytes at most.
 */
export function tunnelName(transport: Transport, vni: Vni, peer: IpAddress): string {
  const { encapsulation, port } = transport;
  const start = tunnelNameStart(transport, vni);
  const { devices, port: usualPort } = encapsulations[encapsulation];
  if (devices === "shared") return start;
  const isPlain = familyOf(peer) === 4 && port === usualPort;
  return isPlain
    ? `${start}${Array.from(ipToBytes(peer), (byte) => byte.toString(16).padStart(2, "0")).join("")}`
    : `${start}${hash41(`${peer} ${port}`).toString(36).padStart(8, "0")}`;
}

/** The tunnel devices of a transport by name: that of the one, or what all begin with and a `*`. */
export function tunnelPattern(transport: Transport, vni: Vni): string {
  const isShared = encapsulations[transport.encapsulation].devices === "shared";
  return `${tunnelNameStart(transport, vni)}${isShared ? "" : "*"}`;
}

/** What names of a transport's devices begin with; where one device serves all VTEPs its whole name. */
function tunnelNameStart({ encapsulation, port }: Transport, vni: Vni): string {
  const { devices, devicePrefix, port: usualPort } = encapsulations[encapsulation];
  if (devices !== "shared") return `${devicePrefix}${vni.toString(36)}-`;
  return `${devicePrefix}${vni}${port === usualPort ? "" : `p${port.toString(16).padStart(4, "0")}`}`;
}

/** Whether a device of weft's is a tunnel of this network, by whatever encapsulation, port and VTEP. */
export function isTunnelOf(vni: Vni, name: string): boolean {
  const [shared, single] = (["shared", "per-vtep"] as const).map((kind) =>
    encapsulationsThat(({ devices }) => devices === kind)
      .map((each) => encapsulations[each].devicePrefix)
      .join("|"),
  );
  return new RegExp(`^((${shared})${vni}(p[0-9a-f]{4})?|(${single})${vni.toString(36)}-[0-9a-z]{8})$`).test(name);
}

/** FNV-1a of 64 bits, of which 41 fit eight digits of base 36. */
function hash41(text: string): bigint {
  let hash = 0xcbf2_9ce4_8422_2325n;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x0000_0100_0000_01b3n);
  return (hash ^ (hash >> 41n)) & ((1n << 41n) - 1n);
}

/** The node's end of an endpoint's veth pair: 14 bytes of the 15 that the kernel allows. */
export function endpointPortName(endpoint: string): string {
  return `ve${endpoint}`;
}

/** The endpoint whose port has the name; `undefined`: it is no port's. */
export function endpointOfPort(name: string): string | undefined {
  return /^ve([0-9a-f]{12})$/.exec(name)?.[1];
}

function parseLabel(text: string, longest: number): Result<string, string> {
  if (text.length <= longest && labelPattern.test(text)) return ok(text);
  return err(
    `a name of 1 to ${longest} lower-case letters, digits and hyphens that begins and ends with a letter or digit`,
  );
}
