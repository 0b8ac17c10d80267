import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { WeftError } from "../../base/errors.ts";
import { writeFileDurably } from "../../linux/durable-file.ts";
import { pluginType } from "./configuration.ts";
import { pluginProgram } from "./program.ts";

/** Where runtimes look for plugins, and for configurations. */
export interface CniFolders {
  readonly binDir: string;
  readonly confDir: string;
}

export interface NetworkConfiguration {
  /** What the runtime calls it. */
  readonly name: string;
  /** Absent: each pod's own, as Kubernetes has it. */
  readonly network?: string;
  readonly agentSocket: string;
  /** Ports of the host lead to containers by the reference plugin `portmap`, and not by weft. */
  readonly portmap: boolean;
}

export interface Installed {
  readonly path: string;
  readonly done: "written" | "unchanged" | "removed" | "left";
  /** Why it was left. */
  readonly reason?: string;
}

/** By which a plugin of another version is known as weft's. */
const markOfPlugin = "no agent of weft runs on this node";
const confSuffix = ".conflist";

/** Puts the plugin and a configuration where the runtimes of this host find them; may be repeated. Nothing that is not weft's is replaced. */
export function installCni({ binDir, confDir }: CniFolders, configuration: NetworkConfiguration): readonly Installed[] {
  const attempted = `install the CNI plugin for ${configuration.network === undefined ? "pods" : `network ${configuration.network}`}`;
  const plugin = { path: pluginPath(binDir), content: readFileSync(pluginProgram(process.arch)), mode: 0o755 };
  const list = { path: join(confDir, fileOf(configuration)), content: Buffer.from(textOf(configuration)), mode: 0o644 };
  for (const [{ path }, isOwn, what] of [
    [plugin, isPlugin, "another program"],
    [list, isConfiguration, "not as weft writes it"],
  ] as const) {
    const there = read(path);
    if (there !== undefined && !isOwn(there))
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `${path} is there, and ${what}`,
        hint: "see what it is, and move it away",
      });
  }
  return [plugin, list].map(({ path, content, mode }): Installed => {
    if (read(path)?.equals(content)) return { path, done: "unchanged" };
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileDurably(path, content, mode);
    return { path, done: "written" };
  });
}

/** Takes away what {@link installCni} wrote; with a name that configuration alone. What somebody changed since is left, and the plugin while it is needed. */
export function uninstallCni({ binDir, confDir }: CniFolders, name?: string): readonly Installed[] {
  const remove = (path: string): Installed => {
    rmSync(path);
    return { path, done: "removed" };
  };
  const done: Installed[] = [];
  const needing: string[] = [];
  for (const file of filesIn(confDir).filter(isRead)) {
    const path = join(confDir, file);
    const content = read(path) ?? Buffer.alloc(0);
    const own = file.endsWith(confSuffix) ? configurationIn(content) : undefined;
    const isWanted = own !== undefined && (name === undefined || own.name === name);
    if (isWanted && isConfiguration(content)) done.push(remove(path));
    else {
      if (isWanted) done.push({ path, done: "left", reason: "it is not as weft wrote it" });
      if (needsPlugin(content)) needing.push(path);
    }
  }
  const plugin = pluginPath(binDir);
  const there = read(plugin);
  if (there === undefined) return done;
  if (!isPlugin(there)) return [...done, { path: plugin, done: "left", reason: "it is another program" }];
  if (needing.length > 0) return [...done, { path: plugin, done: "left", reason: `needed by ${needing.join(", ")}` }];
  return [...done, remove(plugin)];
}

/** Whether runtimes look for configurations in a file of this name. */
function isRead(file: string): boolean {
  return [confSuffix, ".conf", ".json"].some((suffix) => file.endsWith(suffix));
}

/** Whether a configuration, of one plugin or a list of them, has runtimes execute weft, or another plugin in their place. */
function needsPlugin(content: Buffer): boolean {
  const parsed = z.looseObject({ plugins: z.array(z.unknown()).optional() }).safeParse(jsonOf(content));
  if (!parsed.success) return false;
  const { plugins = [parsed.data] } = parsed.data;
  const isWeft = z.looseObject({ type: z.literal(pluginType) });
  const isServed = z.looseObject({ ipam: isWeft });
  return plugins.some((each) => z.union([isWeft, isServed]).safeParse(each).success);
}

function pluginPath(binDir: string): string {
  return join(binDir, pluginType);
}

function fileOf({ name }: NetworkConfiguration): string {
  return `10-${name}${confSuffix}`;
}

/** Runtimes that know of them choose the newest of the versions; 1.0.0 is what the others have known longest of those in use. */
function textOf({ name, network, agentSocket, portmap: isByPortmap }: NetworkConfiguration): string {
  const portMappings = { portMappings: true };
  const capabilities = { ips: true, mac: true, bandwidth: true, aliases: true, ...(isByPortmap ? {} : portMappings) };
  const weft = { type: pluginType, ...(network === undefined ? {} : { network }), agentSocket, capabilities };
  const portmap = { type: "portmap", capabilities: portMappings };
  const list = {
    cniVersion: "1.0.0",
    cniVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    name,
    plugins: isByPortmap ? [weft, portmap] : [weft],
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}

/** What a file says that was written by {@link textOf}; of any other whatever of it can be read. `undefined`: no list with weft in it. */
function configurationIn(content: Buffer): NetworkConfiguration | undefined {
  try {
    const { name, plugins } = JSON.parse(`${content}`);
    const own = plugins.find(({ type }: { readonly type: unknown }) => type === pluginType);
    const portmap = plugins.some(({ type }: { readonly type: unknown }) => type === "portmap");
    return { name, network: own.network, agentSocket: own.agentSocket, portmap };
  } catch {
    return undefined;
  }
}

function jsonOf(content: Buffer): unknown {
  try {
    return JSON.parse(`${content}`);
  } catch {
    return undefined;
  }
}

function isConfiguration(content: Buffer): boolean {
  const configuration = configurationIn(content);
  return configuration !== undefined && textOf(configuration) === `${content}`;
}

function isPlugin(content: Buffer): boolean {
  return content.includes(markOfPlugin);
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
