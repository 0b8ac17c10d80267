import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import type { NetworkSettings } from "../../dataplane/desired.ts";
import {
  changedInfoOf,
  hasOtherSettings,
  infoOf,
  tunnelConflict,
  wantedTunnels,
} from "../../dataplane/encapsulation/tunnel.ts";
import type { TunnelDevice } from "../../dataplane/encapsulation/tunnel-device.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  type Link,
  listLinks,
  namespaceIdOf,
  type Request,
} from "../../netlink/index.ts";
import { Observation } from "./observation.ts";

/** What a kernel makes of the tunnels that carry the network, which has one towards each VTEP. */
export async function observeTunnels(
  kernel: Kernel,
  names: readonly [string, string],
  network: NetworkSettings,
): Promise<string[]> {
  const [near, far] = network.localVtep.includes(":")
    ? [ip("2001:db8::2"), ip("2001:db8::3")]
    : [ip("192.0.2.2"), ip("192.0.2.3")];
  return Observation.of(kernel, names, async (on) => {
    const [one, other] = [...wantedTunnels(network, [near, far]).values()].map(({ device }) => device);
    if (one === undefined || other === undefined) throw new Error("a tunnel for each VTEP");
    await make(on, "tunnel", one);
    await make(on, "another of its key", { ...one, name: "tn1" });
    await make(on, "one of its name", { ...other, name: one.name });
    await make(on, "tunnel to another VTEP", other);
    await show(on, [one, other]);
    const reference = () => ({ index: on.index(one.name) });
    const does = (what: string, request: () => Request) => on.do(what, request);
    await does("alias", () => changeLink(reference(), { alias: "mine" }));
    await does("up", () => changeLink(reference(), { up: true }));
    await does("MTU", () => changeLink(reference(), { mtu: 1300 }));
    const changed = { ...one, settings: { ...one.settings, ttl: 9 } };
    await does("other settings", () => changeLink(reference(), { mtu: 1300, info: changedInfoOf(changed) }));
    await show(on, [one, changed, other]);
    await does("the settings as before", () => changeLink(reference(), { mtu: 1300, info: changedInfoOf(one) }));
    if (one.mac !== undefined) await does("MAC", () => changeLink(reference(), { mac: mac("02:00:00:00:00:09") }));
    await does("bridge", () => createLink("bridge", { name: "br1", mac: mac("02:00:00:00:00:01"), mtu: 1450 }));
    await does("port", () => changeLink(reference(), { master: on.index("br1") }));
    await does("down", () => changeLink(reference(), { up: false }));
    await show(on, [one, other]);
    await does("tunnel less", () => deleteLink({ name: one.name }));
    await make(on, "tunnel again", one);
    await on.list("at last");
  });
}

/** Asks for the tunnel as the dataplane does. */
async function make(on: Observation, what: string, device: TunnelDevice): Promise<void> {
  const { inner, outer } = on;
  const { name, kind } = device;
  const settings = { name, mtu: 1400, ...(device.mac === undefined ? {} : { mac: device.mac }), info: infoOf(device) };
  if (device.byLinkNamespace) {
    const linkNamespaceId = await namespaceIdOf(inner.socket, outer.namespace);
    await on.do(what, () => createLink(kind, { ...settings, linkNamespaceId }));
  } else await on.do(what, () => createLink(kind, { ...settings, namespace: inner.namespace }), outer);
}

/** What the dataplane would say of the devices. */
async function show(on: Observation, wanted: readonly TunnelDevice[]): Promise<void> {
  const links = await on.inner.socket.dump(listLinks());
  const judge = (device: TunnelDevice, link: Link | undefined): string =>
    link === undefined
      ? "is not there"
      : (tunnelConflict(device, link) ?? (hasOtherSettings(device, link) ? "has other settings" : "is as wanted"));
  for (const device of wanted)
    on.say(
      `${device.name} ${judge(
        device,
        links.find(({ name }) => name === device.name),
      )}`,
    );
}
