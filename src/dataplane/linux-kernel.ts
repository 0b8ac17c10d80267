import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, watch } from "node:fs";
import { text } from "node:stream/consumers";
import { WeftError } from "../base/errors.ts";
import type { IpFamily } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import {
  BpfMap,
  BpfProgram,
  createNamedNamespace,
  DatagramSocket,
  deleteNamedNamespace,
  listNamedNamespaces,
  makeTap,
  memoryFile,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  nameNamespace,
  namespaceInodeAt,
  PacketSender,
  PacketSocket,
  readBpfObject,
  readNetworkFile,
  readNetworkSysctl,
  writeNetworkSysctl,
} from "../linux/index.ts";
import { openKernelChannel } from "../netlink/index.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";

/** The kernel that this process runs on. */
export const linuxKernel: Kernel = {
  current: () => linuxNamespace(NetworkNamespace.current()),
  open: (path) => linuxNamespace(NetworkNamespace.open(path)),
  openNamed: (name) => linuxNamespace(NetworkNamespace.openNamed(name)),
  inodeAt: namespaceInodeAt,
  listNamed: listNamedNamespaces,
  namedExists: namedNamespaceExists,
  createNamed: createNamedNamespace,
  deleteNamed: deleteNamedNamespace,
  name: nameNamespace,
  watchNamed: watchNamedNamespaces,
  bpf: {
    readObject: readBpfObject,
    createMap: (name, layout) => BpfMap.create(name, layout),
    mapById: (id) => BpfMap.byId(id),
    loadProgram: (name, instructions, symbols) => BpfProgram.load(name, instructions, symbols),
    programById: (id) => BpfProgram.byId(id),
  },
  readMachineSysctl(key) {
    using own = NetworkNamespace.current();
    return readNetworkSysctl(own, key);
  },
  writeMachineSysctl(key, value) {
    using own = NetworkNamespace.current();
    writeNetworkSysctl(own, key, value);
  },
};

/** A namespace of this kernel. It closes the one that it was given. */
export function linuxNamespace(namespace: NetworkNamespace): KernelNamespace {
  const { label, inode, fd } = namespace;
  return {
    label,
    inode,
    fd,
    openChannel: (options) => openKernelChannel({ ...options, namespace }),
    readSysctl: (key) => readNetworkSysctl(namespace, key),
    writeSysctl: (key, value) => writeNetworkSysctl(namespace, key, value),
    nft: (attempted, parameters, input) => runNft(namespace, `${attempted} in ${label}`, parameters, input),
    readLegacyIptables: (family) => readLegacyIptables(namespace, family),
    makeTap: (name, settings) => makeTap(namespace, name, settings),
    openPacketSender: () => new PacketSender(namespace),
    openPacketSocket: (options) => new PacketSocket({ ...options, namespace }),
    openDatagramSocket: (options) => new DatagramSocket({ ...options, namespace }),
    close: () => namespace.close(),
    [Symbol.dispose]: () => namespace.close(),
  };
}

function watchNamedNamespaces(onChange: (name: string) => void, onFailure: (error: Error) => void): { close(): void } {
  try {
    const directory = namedNamespacePath("");
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    const watcher = watch(directory, { persistent: false }, (_event, name) => {
      if (name !== null) onChange(name);
    });
    watcher.on("error", onFailure);
    return watcher;
  } catch (error) {
    // EMFILE: the machine's inotify instances have run out.
    onFailure(error as Error);
    return { close() {} };
  }
}

async function runNft(
  namespace: NetworkNamespace,
  attempted: string,
  parameters: readonly string[],
  input: string,
): Promise<string> {
  const result = await run(namespace, "nft", parameters, input);
  if (result.ok) return result.value;
  const { isMissing, complaint } = result.error;
  throw new WeftError({
    code: isMissing ? "failed-precondition" : "internal",
    attempted,
    reason: isMissing ? "the program nft is not installed" : complaint,
    ...(isMissing ? { hint: "install the Debian package nftables" } : {}),
  });
}

async function readLegacyIptables(
  namespace: NetworkNamespace,
  family: IpFamily,
): Promise<{ readonly tables: readonly string[]; readonly saved: string | undefined }> {
  const names = readNetworkFile(namespace, family === 4 ? "ip_tables_names" : "ip6_tables_names") ?? "";
  const tables = names.split("\n").filter((name) => name !== "");
  if (tables.length === 0) return { tables, saved: undefined };
  const program = family === 4 ? "iptables-legacy-save" : "ip6tables-legacy-save";
  const result = await run(namespace, program, [], "");
  if (result.ok) return { tables, saved: result.value };
  if (result.error.isMissing) return { tables, saved: undefined };
  throw new WeftError({
    code: "internal",
    attempted: `run ${program} in ${namespace.label}`,
    reason: result.error.complaint,
  });
}

interface Failure {
  readonly isMissing: boolean;
  readonly complaint: string;
}

/** Runs a program inside and resolves to what it printed. */
async function run(
  namespace: NetworkNamespace,
  program: string,
  parameters: readonly string[],
  input: string,
): Promise<Result<string, Failure>> {
  // nft opens its standard input anew, which works for files and not for the sockets that Node makes.
  const inputFile = memoryFile(`${program}-input`, input);
  let child: ChildProcess;
  try {
    child = namespace.spawn(program, parameters, { stdio: [inputFile, "pipe", "pipe"] });
  } finally {
    closeSync(inputFile);
  }
  if (child.stdout === null || child.stderr === null) throw new TypeError(`${program} has no pipes`);
  const [output, complaints, failure] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close").then(
      ([code]) => (code === 0 ? undefined : { message: `exit ${code}`, code: "" }),
      ({ message, code }: NodeJS.ErrnoException) => ({ message, code }),
    ),
  ]);
  if (failure === undefined) return ok(output);
  // What follows the first complaint follows from it.
  const complaint = complaints.trim().split("\n")[0] || failure.message;
  return err({ isMissing: failure.code === "ENOENT", complaint });
}
