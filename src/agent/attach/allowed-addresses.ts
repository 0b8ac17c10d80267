import { cidrOf, parseCidr, prefixLengthOf } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { familyOf, parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { isUnicastMac } from "../../model/endpoint-mac.ts";
import type { AllowedAddress } from "../../model/resources.ts";
import type { AttachRequest } from "./kind.ts";

/** More than routers and virtual addresses need; what needs more is a router, in a network without antiSpoof. */
const maximum = 64;

export function parseAllowedAddresses(
  given: AttachRequest["allowedAddresses"],
  attempted: string,
): readonly AllowedAddress[] {
  const refuse = (found: string, allowed: string): WeftError =>
    new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `allowed address: found ${found}; allowed: ${allowed}`,
    });
  if (given.length > maximum) throw refuse(`${given.length} of them`, `${maximum} at most`);
  return given.map(({ prefix: text, mac: macText }) => {
    const address = parseIp(text);
    const prefix = address.ok
      ? { ok: true as const, value: cidrOf(address.value, familyOf(address.value) === 4 ? 32 : 128) }
      : parseCidr(text);
    if (!prefix.ok || prefixLengthOf(prefix.value) === 0)
      throw refuse(`"${text}"`, "an address, or a prefix that is not everything, such as 10.1.0.100 or 10.1.8.0/24");
    if (macText === "") return { prefix: prefix.value };
    const mac = parseMac(macText);
    if (!mac.ok || !isUnicastMac(mac.value)) throw refuse(`"${macText}"`, "a unicast MAC address");
    return { prefix: prefix.value, mac: mac.value };
  });
}
