import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { promisify } from "node:util";
import { type Command, Option } from "commander";
import { WeftError } from "../../base/errors.ts";
import { interfaceName } from "../options.ts";
import { printable } from "../terminal.ts";

/** Where an endpoint is attached: in a namespace, or by an interface of the host. */
export interface PlaceOptions {
  readonly netns?: string;
  readonly tap?: string;
  readonly interface?: string;
}

export interface TapOptions {
  readonly owner?: string;
  readonly group?: string;
  readonly multiQueue?: true;
}

/** As the agent is asked for it. */
export type Place = { readonly netns: string; readonly interface: string } | { readonly device: string };

const defaultInterface = "eth0";

export function placeOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--netns <name|path>", "a container's namespace: a name under /run/netns, or a path").conflicts("tap"),
    )
    .addOption(
      new Option("--tap <name>", "a tap of the host, for a virtual machine")
        .argParser(interfaceName)
        .conflicts(["netns", "interface"]),
    )
    .addOption(
      new Option(
        "--interface <name>",
        `with --netns: the interface's name in there (default: ${defaultInterface}); without: an interface of the host`,
      ).argParser(interfaceName),
    );
}

export function tapOptions(command: Command): Command {
  return command
    .option("--owner <user>", "with --tap: who may open it beside root, a name or a number")
    .option("--group <group>", "with --tap: the same for a group")
    .option("--multi-queue", "with --tap: of several queues; whoever opens it must ask for them, too");
}

/** Wrong usage is the command's to tell. */
export function placeOf(command: Command, options: PlaceOptions): Place {
  const { netns, tap } = options;
  if (netns !== undefined) return { netns: namespacePath(netns), interface: options.interface ?? defaultInterface };
  const device = tap ?? options.interface;
  if (device === undefined)
    command.error("error: say where: --netns NAME, --tap NAME, or --interface NAME", { exitCode: 2 });
  return { device };
}

/** For people. */
export function placeText(place: Place, { tap }: PlaceOptions): string {
  if ("netns" in place) return `${printable(place.interface)} in ${printable(place.netns)}`;
  return `${tap === undefined ? "interface" : "tap"} ${printable(place.device)}`;
}

/** The tap that is to be made; `undefined`: none. */
export async function tapOf(
  command: Command,
  { tap, owner, group, multiQueue }: PlaceOptions & TapOptions,
): Promise<{ owner?: number; group?: number; multiQueue: boolean } | undefined> {
  const stray = Object.entries({ owner, group, "multi-queue": multiQueue }).find(([, value]) => value !== undefined);
  if (tap === undefined && stray !== undefined) command.error(`error: --${stray[0]} goes with --tap`, { exitCode: 2 });
  if (tap === undefined) return undefined;
  return {
    ...(owner === undefined ? {} : { owner: await numberOf("passwd", owner, "user") }),
    ...(group === undefined ? {} : { group: await numberOf("group", group, "group") }),
    multiQueue: multiQueue === true,
  };
}

/** The agent may know other users than the caller. */
async function numberOf(database: "passwd" | "group", nameOrNumber: string, what: string): Promise<number> {
  if (/^\d{1,9}$/.test(nameOrNumber)) return Number(nameOrNumber);
  // Field 3 of passwd(5) and group(5).
  const found = await promisify(execFile)("getent", [database, "--", nameOrNumber]).catch(() => undefined);
  const number = found?.stdout.split(":")[2];
  if (number !== undefined) return Number(number);
  throw new WeftError({
    code: "not-found",
    attempted: `give a tap to ${what} ${nameOrNumber}`,
    reason: `this host has no such ${what}`,
    hint: `getent ${database}`,
  });
}

/** Refuses a namespace that is not there. */
export async function requirePlace(place: Place, network: string): Promise<void> {
  if (!("netns" in place)) return;
  const { netns } = place;
  const found = await stat(netns).catch(() => undefined);
  if (found !== undefined) return;
  throw new WeftError({
    code: "not-found",
    attempted: `attach ${netns} to network ${network}`,
    reason: "there is no such namespace",
    hint: netns.startsWith("/run/netns/") ? `ip netns add ${netns.slice("/run/netns/".length)}` : "ip netns list",
  });
}

/** A name stands for the file that `ip netns` keeps for it. The agent has another working directory than the caller. */
function namespacePath(nameOrPath: string): string {
  if (!nameOrPath.includes("/")) return `/run/netns/${nameOrPath}`;
  return isAbsolute(nameOrPath) ? nameOrPath : `${process.cwd()}/${nameOrPath}`;
}
