import type { IpFamily } from "../../base/ip.ts";
import { type NftSet, nftField } from "../../netlink/index.ts";
import { answeringTable } from "../kernel-names.ts";
import type { NftTable } from "../nft/table.ts";
import type { Side } from "./pair.ts";

/**
 * Settings of the host's devices on whose links it answers for floating addresses. Linux waits up to 0.8 s before it answers
 * for somebody else (RFC 4861 §7.2.8: the owner shall be first), and for IPv6 it asks for more: `proxy_ndp`, and that the
 * device is a router's. Routers ignore router advertisements unless `accept_ra` is 2.
 *
 * What weft changed stands in sets of a table without rules: a record in the kernel, for all uplinks and instances together.
 * With the last floating address on a link its settings become what new devices have.
 */
interface Setting {
  /** Name of the set. */
  readonly record: string;
  readonly family: IpFamily;
  readonly value: string;
  readonly path: (device: string) => string;
}

/** What makes a device a router's. */
const router: Setting = {
  record: "routers6",
  family: 6,
  value: "1",
  path: (device) => `ipv6/conf/${device}/forwarding`,
};
const settings: readonly Setting[] = [
  { record: "delay4", family: 4, value: "0", path: (device) => `ipv4/neigh/${device}/proxy_delay` },
  { record: "delay6", family: 6, value: "0", path: (device) => `ipv6/neigh/${device}/proxy_delay` },
  { record: "proxies6", family: 6, value: "1", path: (device) => `ipv6/conf/${device}/proxy_ndp` },
  router,
];
/** Those of the routers that obeyed router advertisements before. */
const listeners = "listeners6";
const acceptRa = (device: string): string => `ipv6/conf/${device}/accept_ra`;

/** By name of the set: devices. */
type Recorded = ReadonlyMap<string, readonly string[]>;

/** What was switched on of a device. */
export interface SwitchedOn {
  readonly device: string;
  readonly settings: readonly string[];
}

/** `devices`: all on whose links the host answers for floating addresses. Returns what was switched on, and how often settings were written. */
export async function ensureAnswering(
  underlay: Side,
  devices: Readonly<Record<IpFamily, readonly string[]>>,
): Promise<{ readonly switchedOn: readonly SwitchedOn[]; readonly writes: number }> {
  const { namespace } = underlay;
  const recorded = await read(underlay);
  const isOff = ({ path, value }: Setting, device: string): boolean =>
    (namespace.readSysctl(path(device)) ?? value) !== value;
  const toSwitch = settings.flatMap((setting) =>
    devices[setting.family].filter((device) => isOff(setting, device)).map((device) => ({ setting, device })),
  );
  const toReset = settings.flatMap((setting) =>
    (recorded.get(setting.record) ?? [])
      .filter((device) => !devices[setting.family].includes(device))
      .map((device) => ({ setting, device })),
  );
  if (toSwitch.length + toReset.length === 0) return { switchedOn: [], writes: 0 };
  const listening = toSwitch
    .filter(({ setting, device }) => setting === router && namespace.readSysctl(acceptRa(device)) === "1")
    .map(({ device }) => device);
  const grown = new Map(recorded);
  const add = (set: string, device: string): unknown =>
    grown.set(set, [...new Set([...(grown.get(set) ?? []), device])].sort());
  for (const { setting, device } of toSwitch) add(setting.record, device);
  for (const device of listening) add(listeners, device);
  await write(underlay, grown);
  // First: with the switch go the default routes of devices that would not accept them any more.
  const changes = [
    ...listening.map((device) => ({ device, path: acceptRa(device), value: "2" })),
    ...toSwitch.map(({ setting: { path, value }, device }) => ({ device, path: path(device), value })),
    ...toReset.flatMap(({ setting: { path, value }, device }) => {
      const usual = namespace.readSysctl(path("default"));
      const isLeft = namespace.readSysctl(path(device)) === value;
      return isLeft && usual !== undefined ? [{ device, path: path(device), value: usual }] : [];
    }),
  ];
  const left = new Map(grown);
  for (const { setting, device } of toReset)
    left.set(
      setting.record,
      (left.get(setting.record) ?? []).filter((each) => each !== device),
    );
  for (const { path, value } of changes) namespace.writeSysctl(path, value);
  const routers = new Set(left.get(router.record));
  const listened = left.get(listeners) ?? [];
  // After the switch: what forwards for another reason by then would lose the default routes that it has by advertisements.
  const freed = listened.filter(
    (device) =>
      !routers.has(device) &&
      namespace.readSysctl(acceptRa(device)) === "2" &&
      namespace.readSysctl(router.path(device)) !== router.value,
  );
  for (const device of freed) namespace.writeSysctl(acceptRa(device), "1");
  left.set(
    listeners,
    listened.filter((device) => routers.has(device)),
  );
  await write(underlay, left);
  const texts = [...listening.map((device) => ({ device, text: settingText(acceptRa(device), "2") }))];
  for (const { setting, device } of toSwitch)
    texts.push({ device, text: settingText(setting.path(device), setting.value) });
  const byDevice = Map.groupBy(texts, ({ device }) => device);
  const switchedOn = Array.from(byDevice, ([device, each]) => ({ device, settings: each.map(({ text }) => text) }));
  return { switchedOn, writes: changes.length + freed.length };
}

function settingText(path: string, value: string): string {
  return `net.${path.replaceAll("/", ".")} = ${value}`;
}

const setNames = [...settings.map(({ record }) => record), listeners];

const setOf = (name: string): Pick<NftSet, "name" | "key"> => ({ name, key: [nftField.ifname] });

async function read({ nftables }: Side): Promise<Recorded> {
  return (await nftables.contents("inet", answeringTable, setNames.map(setOf))) ?? new Map();
}

async function write({ nftables }: Side, recorded: Recorded): Promise<void> {
  const sets = setNames.map((name) => ({ ...setOf(name), elements: recorded.get(name) ?? [] }));
  const table: NftTable = { family: "inet", name: answeringTable, sets, rules: [] };
  if (sets.some(({ elements }) => elements.length > 0)) await nftables.ensure(table);
  else await nftables.remove("inet", answeringTable);
}
