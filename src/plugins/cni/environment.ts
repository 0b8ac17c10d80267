import { isAbsolute } from "node:path";
import { parseInterfaceName } from "../../model/names.ts";
import { CniError, errorCode } from "./error.ts";
import { parseCniName } from "./texts.ts";

export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/** The parameters of one call: the CNI_ variables of its environment, read. What a command does not need may be empty. */
export interface Parameters {
  readonly command: Command;
  readonly container: string;
  readonly netns: string;
  readonly interface: string;
  /** The value of each key in CNI_ARGS. */
  readonly args: ReadonlyMap<string, string>;
  /** Folders with plugins. */
  readonly path: readonly string[];
  /** As it came, for delegated plugins. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Section 2 of the specification, what each operation lists as required. */
const required: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  GC: ["CNI_PATH"],
  STATUS: [],
};

/** Keys of CNI_ARGS that weft heeds. */
const knownArgs = new Set(["WEFT_NETWORK", "IP", "MAC", "IgnoreUnknown"]);

export function parseEnvironment(environment: Readonly<Record<string, string>>): Parameters {
  const { CNI_COMMAND: command = "" } = environment;
  const needed = isCommand(command) ? required[command] : [];
  const missing = ["CNI_COMMAND", ...needed].filter((name) => (environment[name] ?? "") === "");
  if (missing.length > 0)
    throw new CniError(errorCode.invalidEnvironment, `missing environment variables: ${missing.join(", ")}`);
  if (!isCommand(command)) throw invalid("CNI_COMMAND", command, Object.keys(required).join(", "));
  const { CNI_CONTAINERID: container = "", CNI_NETNS: netns = "", CNI_IFNAME: name = "" } = environment;
  const isOfContainer = needed.includes("CNI_CONTAINERID");
  const id = parseCniName(container);
  if (isOfContainer && !id.ok) throw invalid("CNI_CONTAINERID", container, id.error);
  const interfaceName = parseInterfaceName(name);
  if (isOfContainer && !interfaceName.ok) throw invalid("CNI_IFNAME", name, interfaceName.error);
  // What is gone is taken away all the same, whatever its path is said to be.
  if (command !== "DEL" && netns !== "" && !isAbsolute(netns)) throw invalid("CNI_NETNS", netns, "an absolute path");
  return {
    command,
    container,
    netns,
    interface: name,
    args: command === "DEL" ? new Map() : parseArgs(environment.CNI_ARGS ?? ""),
    path: (environment.CNI_PATH ?? "").split(":").filter(isAbsolute),
    environment,
  };
}

/** Runtimes say in these what they know of a container; what weft has no use for it ignores if it is told to, or knows of Kubernetes. */
function parseArgs(text: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of text.split(";").filter((each) => each !== "")) {
    const [key = "", ...value] = pair.split("=");
    if (key === "" || value.length === 0) throw invalid("CNI_ARGS", pair, "KEY=VALUE, separated by semicolons");
    args.set(key, value.join("="));
  }
  const ignores = /^(1|t|true)$/i.test(args.get("IgnoreUnknown") ?? "");
  const unknown = [...args.keys()].filter((key) => !knownArgs.has(key) && !key.startsWith("K8S_"));
  if (!ignores && unknown.length > 0)
    throw invalid("CNI_ARGS", unknown.join(", "), `${[...knownArgs].join(", ")}; with IgnoreUnknown=1 any`);
  return args;
}

function isCommand(text: string): text is Command {
  return Object.hasOwn(required, text);
}

function invalid(name: string, found: string, allowed: string): CniError {
  return new CniError(errorCode.invalidEnvironment, `${name}: found "${found}"; allowed: ${allowed}`);
}
