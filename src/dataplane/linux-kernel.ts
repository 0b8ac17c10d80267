import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, watch } from "node:fs";
import { text } from "node:stream/consumers";
import { WeftError } from "../base/errors.ts";
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
  // nft opens its standard input anew, which works for files and not for the sockets that Node makes.
  const inputFile = memoryFile("nft-input", input);
  let child: ChildProcess;
  try {
    child = namespace.spawn("nft", parameters, { stdio: [inputFile, "pipe", "pipe"] });
  } finally {
    closeSync(inputFile);
  }
  if (child.stdout === null || child.stderr === null) throw new TypeError("nft has no pipes");
  const [output, complaints, failure] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close").then(
      ([code]) => (code === 0 ? undefined : { message: `exit ${code}`, code: "" }),
      ({ message, code }: NodeJS.ErrnoException) => ({ message, code }),
    ),
  ]);
  if (failure === undefined) return output;
  const missing = failure.code === "ENOENT";
  throw new WeftError({
    code: missing ? "failed-precondition" : "internal",
    attempted,
    // What follows the first complaint follows from it.
    reason: missing ? "the program nft is not installed" : complaints.trim().split("\n")[0] || failure.message,
    ...(missing ? { hint: "install the Debian package nftables" } : {}),
  });
}
