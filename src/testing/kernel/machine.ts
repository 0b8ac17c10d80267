import { normalize } from "node:path";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Kernel, KernelNamespace } from "../../dataplane/kernel.ts";
import type { Fault } from "../fake-kernel.ts";
import type { FakeLink } from "./context.ts";
import { errno } from "./errno.ts";
import { FakeNamespace, type MachineOfNamespaces, refusal } from "./namespace.ts";

/** What goes wrong with one call of the kernel, whichever it is. `answer lost`: it is done, and nobody hears so. */
export type MachineFault = { readonly errno: number } | "answer lost";

const namedDirectory = "/run/netns/";

/**
 * A machine for unit tests of the dataplane: namespaces with devices, tables and filters, which behave as far as the
 * dataplane relies on it as Linux does, tell of each change, and print what they hold as text. On demand one call fails, or one
 * event is lost.
 */
export class FakeMachine implements Kernel, MachineOfNamespaces {
  /** The namespace that the process is in. */
  readonly host: FakeNamespace;
  readonly machineSysctls = new Map([["core/netdev_max_backlog", "1000"]]);
  /** Calls of all kinds so far. */
  calls = 0;
  /** Events that somebody was told of so far. */
  events = 0;
  readonly #named = new Map<string, FakeNamespace>();
  readonly #handles = new Map<FakeNamespace, number>();
  readonly #byFd = new Map<number, FakeNamespace>();
  readonly #watchers = new Set<(name: string) => void>();
  #nextInode = 100;
  #fault: { readonly at: number; readonly fault: MachineFault } | undefined;
  #loss: { readonly at: number; readonly isTold: boolean } | undefined;

  constructor() {
    this.host = this.#make();
    this.#handles.set(this.host, 1);
  }

  /** The call after `after` others from now on goes wrong. */
  failAfter(after: number, fault: MachineFault): void {
    this.#fault = { at: this.calls + after + 1, fault };
  }

  /** The event after `after` others from now on is lost; `isTold`: whoever listens hears that some were. */
  loseEventAfter(after: number, isTold: boolean): void {
    this.#loss = { at: this.events + after + 1, isTold };
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    this.#fault = undefined;
    this.#loss = undefined;
  }

  get namespaces(): readonly FakeNamespace[] {
    return [...new Set([this.host, ...this.#named.values(), ...this.#handles.keys()])];
  }

  get devices(): readonly FakeLink[] {
    return this.namespaces.flatMap(({ links }) => [...links.all.values()]);
  }

  namespace(name: string): FakeNamespace {
    const found = this.#named.get(name);
    if (found === undefined) throw new TypeError(`there is no namespace ${name}`);
    return found;
  }

  byFd(fd: number): FakeNamespace | undefined {
    return this.#byFd.get(fd);
  }

  /** The VTEP that a nexthop or a group of one leads to, wherever it is. */
  gatewayOf(id: number): IpAddress | undefined {
    for (const { nexthops } of this.namespaces) {
      const found = nexthops.all.get(id);
      if (found !== undefined) return found.gateway ?? this.gatewayOf(found.group?.[0]?.id ?? 0);
    }
    return undefined;
  }

  /** All that the machine holds, by namespace: lines as `ip`, `bridge` and `nft` have them, in order. */
  text(): string {
    const names = [...this.#named].sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = [["host", this.host] as const, ...names];
    return parts.flatMap(([name, namespace]) => [`[${name}]`, ...namespace.text()]).join("\n");
  }

  faultOfRequest(): Fault | undefined {
    const fault = this.#nextFault();
    if (fault === undefined) return undefined;
    return fault === "answer lost" ? { kind: "lost" } : { kind: "error", errno: fault.errno };
  }

  /** Of the event that is about to be told. */
  lossOfEvent(): "told" | "silent" | undefined {
    this.events++;
    if (this.#loss?.at !== this.events) return undefined;
    return this.#loss.isTold ? "told" : "silent";
  }

  current(): KernelNamespace {
    return this.#handle(this.host, "host");
  }

  open(path: string): KernelNamespace {
    return this.openNamed(nameAt(path));
  }

  openNamed(name: string): KernelNamespace {
    this.#call(`open network namespace ${name}`);
    const found = this.#named.get(name);
    if (found !== undefined) return this.#handle(found, name);
    throw new WeftError({
      code: "not-found",
      attempted: `open network namespace ${name}`,
      reason: `${namedDirectory}${name} does not exist`,
    });
  }

  inodeAt(path: string): number | undefined {
    return this.#named.get(nameAt(path))?.inode;
  }

  async listNamed(): Promise<readonly string[]> {
    this.#call("list network namespaces");
    return [...this.#named.keys()];
  }

  namedExists(name: string): boolean {
    return this.#named.has(name);
  }

  createNamed(name: string): void {
    this.#call(`create network namespace ${name}`);
    if (this.#named.has(name)) throw refusal(`create network namespace ${name}`, errno.EEXIST);
    this.#named.set(name, this.#make());
    this.#tellName(name);
  }

  deleteNamed(name: string): void {
    this.#call(`delete network namespace ${name}`);
    const found = this.#named.get(name);
    this.#named.delete(name);
    if (found !== undefined) this.#endIfUnused(found);
    this.#tellName(name);
  }

  name(namespace: KernelNamespace, name: string): void {
    this.#call(`name network namespace ${name}`);
    const found = this.#byFd.get(namespace.fd);
    if (found === undefined || this.#named.has(name)) throw refusal(`name network namespace ${name}`, errno.EEXIST);
    this.#named.set(name, found);
    this.#tellName(name);
  }

  watchNamed(onChange: (name: string) => void): { close(): void } {
    this.#watchers.add(onChange);
    return { close: () => void this.#watchers.delete(onChange) };
  }

  readMachineSysctl(key: string): string | undefined {
    return this.machineSysctls.get(key);
  }

  writeMachineSysctl(key: string, value: string): void {
    this.#call(`set sysctl ${key}`);
    this.machineSysctls.set(key, value);
  }

  #make(): FakeNamespace {
    const namespace = new FakeNamespace(this, this.#nextInode++);
    this.#byFd.set(namespace.inode, namespace);
    return namespace;
  }

  /** A descriptor is the number of the namespace's inode: what is held open is counted. */
  #handle(namespace: FakeNamespace, label: string): KernelNamespace {
    this.#handles.set(namespace, (this.#handles.get(namespace) ?? 0) + 1);
    let isOpen = true;
    const close = (): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#handles.set(namespace, (this.#handles.get(namespace) ?? 1) - 1);
      this.#endIfUnused(namespace);
    };
    return {
      label,
      inode: namespace.inode,
      fd: namespace.inode,
      openTransport: (options) => namespace.openTransport(options),
      readSysctl: (key) => namespace.sysctls.read(key),
      writeSysctl: (key, value) => {
        this.#call(`set sysctl ${key}`);
        namespace.sysctls.write(key, value);
      },
      nft: async (attempted, parameters, input) => {
        const isLost = this.#call(attempted);
        const output = namespace.nft.run(attempted, parameters, input);
        if (isLost) throw refusal(attempted, errno.ENOBUFS);
        return output;
      },
      openPacketSender: () => ({
        send: (index, frame) => void namespace.sent.push({ index, frame: frame.slice() }),
        [Symbol.dispose]() {},
      }),
      openPacketSocket: () => ({ receive: () => undefined, onReadable() {}, pause() {}, close() {} }),
      close,
      [Symbol.dispose]: close,
    };
  }

  /** Counts a call that is no netlink request. Tells whether its answer is to be lost. */
  #call(operation: string): boolean {
    const fault = this.#nextFault();
    if (fault === undefined || fault === "answer lost") return fault !== undefined;
    throw refusal(operation, fault.errno);
  }

  #nextFault(): MachineFault | undefined {
    this.calls++;
    return this.#fault?.at === this.calls ? this.#fault.fault : undefined;
  }

  #endIfUnused(namespace: FakeNamespace): void {
    if ((this.#handles.get(namespace) ?? 0) > 0 || [...this.#named.values()].includes(namespace)) return;
    this.#handles.delete(namespace);
    namespace.end();
  }

  #tellName(name: string): void {
    for (const watcher of this.#watchers) watcher(name);
  }
}

/** The name that a path means, however it is spelt. */
function nameAt(path: string): string {
  const plain = normalize(path);
  return plain.startsWith(namedDirectory) ? plain.slice(namedDirectory.length) : plain;
}
