import { z } from "zod";
import { parseInterfaceAddress } from "../../base/cidr.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import { getLink, listAddresses, listRoutes, lookUp, NetlinkSocket } from "../../netlink/index.ts";

/** What of a result says what is inside of the container. */
const resultSchema = z.looseObject({
  interfaces: z
    .array(z.looseObject({ name: z.string(), mac: z.string().optional(), sandbox: z.string().optional() }))
    .nullish(),
  ips: z.array(z.looseObject({ address: z.string(), interface: z.number().nullish() })).nullish(),
  routes: z.array(z.looseObject({ dst: z.string(), gw: z.string().optional() })).nullish(),
});

/**
 * How the interface in a container differs from the result of ADD, as plugins after weft may have changed it; `undefined`: in
 * nothing that counts. Routes that others changed are theirs.
 */
export async function checkContainer(
  kernel: Kernel,
  { netns, name, prevResult }: { readonly netns: string; readonly name: string; readonly prevResult: unknown },
): Promise<string | undefined> {
  const parsed = resultSchema.safeParse(prevResult);
  if (!parsed.success) return `prevResult is no result: ${parsed.error.issues[0]?.path.join(".")}`;
  const { interfaces, ips, routes } = parsed.data;
  const index = (interfaces ?? []).findIndex((each) => each.name === name && each.sandbox === netns);
  const expected = interfaces?.[index];
  if (expected === undefined) return `prevResult has no interface ${name} in ${netns}`;
  using namespace = kernel.open(netns);
  using socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
  const link = await lookUp(socket, getLink({ name }));
  if (link === undefined) return `there is no interface ${name}`;
  if (expected.mac !== undefined && expected.mac !== "" && expected.mac.toLowerCase() !== link.mac)
    return `its MAC address is ${link.mac}; expected: ${expected.mac}`;
  if (!link.up) return "it is down";
  const present = await socket.dump(listAddresses({ index: link.index }));
  const has = new Set(present.map(({ address, prefixLength }) => `${address}/${prefixLength}`));
  for (const { address, interface: of } of ips ?? [])
    if (of === index && !has.has(canonical(address))) return `it has no address ${address}`;
  const [table, wanted] = [await socket.dump(listRoutes()), routes ?? []];
  for (const { dst, gw } of wanted)
    if (
      gw !== undefined &&
      !table.some(
        ({ destination, nexthops }) =>
          destination === dst && nexthops.some((hop) => hop.gateway === gw && hop.index === link.index),
      )
    )
      return `there is no route to ${dst} by ${gw}`;
  return undefined;
}

/** An IPv6 address can be written in many ways. */
function canonical(text: string): string {
  const parsed = parseInterfaceAddress(text);
  return parsed.ok ? `${parsed.value.address}/${parsed.value.prefixLength}` : text;
}
