import { err, ok, type Result } from "../base/result.ts";

/** Longest name of a tenant: it also names a network namespace, together with the instance. */
const maxTenantName = 40;
/** Longest name of a node, with dots in it. */
const maxNodeName = 253;
/** Longest name of a network: one RFC 1123 label. */
const maxLabel = 63;

/** Label of RFC 1123 §2.1 (RFC 952 with a leading digit allowed), lower case only so that `===` compares names. */
const labelPattern = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const endpointIdPattern = /^[0-9a-f]{12}$/;
const instancePattern = /^[a-z][a-z0-9]{0,15}$/;

/** A parser of one text field. Its error says what is allowed, not what was found. */
export type TextParser<Value> = (text: string) => Result<Value, string>;

export const parseTenantName: TextParser<string> = (text) => parseLabel(text, maxTenantName);
export const parseNetworkName: TextParser<string> = (text) => parseLabel(text, maxLabel);
/** Labels with dots between, as host names are and the nodes of Kubernetes: RFC 1123 §2.1. */
export const parseNodeName: TextParser<string> = (text) =>
  text.length <= maxNodeName && text.split(".").every((label) => labelPattern.test(label))
    ? ok(text)
    : err(
        `a name of 1 to ${maxNodeName} lower-case letters, digits, hyphens and dots, of which each part begins and ends with a letter or digit`,
      );
/** A network as those of other tenants name it: with its tenant, so that no other's network is meant once the name is free again. */
export const parsePeerName: TextParser<string> = (text) => {
  const { tenant, network } = partsOfPeer(text);
  const isValid = parseTenantName(tenant).ok && parseNetworkName(network).ok;
  return isValid ? ok(text) : err("a tenant and a network of it, such as red/web");
};

export function peerName({ tenant, name }: { readonly tenant: string; readonly name: string }): string {
  return `${tenant}/${name}`;
}

/** Names have no slash. */
export function partsOfPeer(peer: string): { readonly tenant: string; readonly network: string } {
  const end = peer.indexOf("/");
  return { tenant: peer.slice(0, Math.max(end, 0)), network: peer.slice(end + 1) };
}

/** Of a policy, and of a rule in it. */
export const parsePolicyName: TextParser<string> = (text) => parseLabel(text, maxLabel);

/** What a runtime calls a pod. */
export const parsePodName: TextParser<string> = (text) => parseLabel(text, maxLabel);

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

function parseLabel(text: string, longest: number): Result<string, string> {
  if (text.length <= longest && labelPattern.test(text)) return ok(text);
  return err(
    `a name of 1 to ${longest} lower-case letters, digits and hyphens that begins and ends with a letter or digit`,
  );
}
