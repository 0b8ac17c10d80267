import { normalize } from "node:path";
import { WeftError } from "../../base/errors.ts";
import { type MacAddress, macFromBytes } from "../../base/mac.ts";
import type { Kernel, KernelNamespace } from "../../dataplane/kernel.ts";
import { SystemError } from "../../linux/index.ts";
import type { Nexthop } from "../../netlink/index.ts";
import type { DeviceHome } from "./device.ts";
import { FakeBpf } from "./ebpf.ts";
import type { Links } from "./links.ts";
import { FakeNamespace, type MachineFault, type NamespaceContext, withFault } from "./namespace.ts";
import { errnoOf, Refusal } from "./request.ts";
import { machineText } from "./text.ts";

const namedDirectory = "/run/netns/";

/**
 * A machine for tests: a {@link Kernel} with network namespaces, whose objects do to each other what those of Linux do,
 * as far as the dataplane relies on it. It tells of its changes, shows its state as text, and goes wrong on demand.
 */
export class FakeMachine implements Kernel {
  /** The namespace that programs are in at first. */
  readonly host: FakeNamespace;
  /** Calls of all kinds so far. */
  calls = 0;
  /** Events that somebody was told of so far. */
  events = 0;
  readonly bpf: FakeBpf;
  readonly #named = new Map<string, FakeNamespace>();
  readonly #living = new Set<FakeNamespace>();
  readonly #descriptors = new Map<number, FakeNamespace>();
  readonly #watchers = new Set<(name: string) => void>();
  readonly #machineSysctls = new Map([["core/netdev_max_backlog", "1000"]]);
  #fault: { readonly at: number; readonly fault: MachineFault } | undefined;
  #loss: { readonly at: number; readonly isTold: boolean } | undefined;
  #lastInode = 0;
  #lastDescriptor = 100;
  #lastMac = 0;

  constructor() {
    this.bpf = new FakeBpf((operation) => withFault(this.#faultOf(this.host), operation, () => {}));
    this.host = this.#make();
  }

  /** The call after `after` others from now on goes wrong. */
  failAfter(after: number, fault: MachineFault): void {
    this.#fault = { at: this.calls + after, fault };
  }

  /** The event after `after` others from now on is lost; `isTold`: whoever listens hears that some were. */
  loseEventAfter(after: number, isTold: boolean): void {
    this.#loss = { at: this.events + after, isTold };
  }

  /** A namespace by its name. */
  namespace(name: string): FakeNamespace {
    const found = this.#named.get(name);
    if (found === undefined) throw new TypeError(`there is no namespace ${name}`);
    return found;
  }

  /** The namespaces that there are, by what they are called. */
  get namespaces(): ReadonlyMap<string, FakeNamespace> {
    const named = new Map([["host", this.host], ...[...this.#named].sort(([a], [b]) => (a < b ? -1 : 1))]);
    const known = new Set(named.values());
    for (const namespace of this.#living)
      if (!known.has(namespace)) named.set(`held open without a name (${namespace.inode})`, namespace);
    return named;
  }

  /** Its whole state as text: namespaces, devices and tables, as `ip`, `bridge` and `nft` print them. */
  text(): string {
    return machineText(this.namespaces, this.bpf);
  }

  current(): KernelNamespace {
    return this.host.open("host");
  }

  open(path: string): KernelNamespace {
    return this.openNamed(nameAt(path));
  }

  openNamed(name: string): KernelNamespace {
    const attempted = `open network namespace ${name}`;
    return withFault(this.#faultOf(this.#named.get(name) ?? this.host), attempted, () => {
      const namespace = this.#named.get(name);
      if (namespace !== undefined) return namespace.open(name);
      throw new WeftError({ code: "not-found", attempted, reason: `${namedDirectory}${name} does not exist` });
    });
  }

  inodeAt(path: string): number | undefined {
    return this.#named.get(nameAt(path))?.inode;
  }

  async listNamed(): Promise<readonly string[]> {
    return [...this.#named.keys()];
  }

  namedExists(name: string): boolean {
    return this.#named.has(name);
  }

  createNamed(name: string): void {
    const operation = `create network namespace ${name}`;
    withFault(this.#faultOf(this.host), operation, () => this.#setName(name, () => this.#make(), operation));
  }

  deleteNamed(name: string): void {
    const namespace = this.#named.get(name) ?? this.host;
    withFault(this.#faultOf(namespace), `delete network namespace ${name}`, () => this.#removeName(name));
  }

  name({ fd }: KernelNamespace, name: string): void {
    const operation = `name network namespace ${name}`;
    withFault(this.#faultOf(this.host), operation, () => this.#setName(name, () => this.#ofDescriptor(fd), operation));
  }

  watchNamed(onChange: (name: string) => void): { close(): void } {
    this.#watchers.add(onChange);
    return { close: () => void this.#watchers.delete(onChange) };
  }

  readMachineSysctl(key: string): string | undefined {
    return this.#machineSysctls.get(key);
  }

  writeMachineSysctl(key: string, value: string): void {
    withFault(this.#faultOf(this.host), `set sysctl ${key}`, () => this.#machineSysctls.set(key, value));
  }

  #make(): FakeNamespace {
    const machine = this;
    const context: NamespaceContext = {
      get allLinks(): Iterable<Links> {
        return [...machine.#living].map(({ links }) => links);
      },
      bpf: this.bpf,
      linksOf: (fd) => this.#ofDescriptor(fd).links,
      nexthopOf: (underlay, id) => this.#nexthopOf(underlay, id),
      nextMac: () => this.#nextMac(),
      faultOf: (namespace) => this.#faultOf(namespace),
      lossOf: () => this.#lossOf(),
      openDescriptor: (namespace) => this.#openDescriptor(namespace),
      closeDescriptor: (fd) => {
        this.#descriptors.delete(fd);
        this.#endUnused();
      },
      onSocketClosed: () => this.#endUnused(),
    };
    const namespace = new FakeNamespace(++this.#lastInode, context);
    this.#living.add(namespace);
    return namespace;
  }

  #setName(name: string, namespace: () => FakeNamespace, operation: string): void {
    if (this.#named.has(name)) throw new SystemError({ operation, errno: errnoOf("EEXIST") });
    this.#named.set(name, namespace());
    this.#tellName(name);
  }

  #openDescriptor(namespace: FakeNamespace): number {
    const fd = ++this.#lastDescriptor;
    this.#descriptors.set(fd, namespace);
    return fd;
  }

  #ofDescriptor(fd: number): FakeNamespace {
    const namespace = this.#descriptors.get(fd);
    if (namespace === undefined) throw new Refusal("EBADF");
    return namespace;
  }

  #nexthopOf(underlay: DeviceHome, id: number): Nexthop | undefined {
    for (const { links, nexthops } of this.#living) if (links === underlay) return nexthops.get(id);
    return undefined;
  }

  /** Locally administered, and none that weft gives. */
  #nextMac(): MacAddress {
    const number = ++this.#lastMac;
    return macFromBytes(Uint8Array.of(0xfe, 0xfe, 0, 0, number >> 8, number));
  }

  #faultOf(namespace: FakeNamespace): MachineFault | undefined {
    const fault = this.calls++ === this.#fault?.at ? this.#fault.fault : undefined;
    if (fault === "namespace gone")
      for (const [name, present] of [...this.#named]) if (present === namespace) this.#removeName(name);
    return fault;
  }

  #removeName(name: string): void {
    if (!this.#named.delete(name)) return;
    this.#tellName(name);
    this.#endUnused();
  }

  #lossOf(): "silent" | "told" | undefined {
    if (this.events++ !== this.#loss?.at) return undefined;
    return this.#loss.isTold ? "told" : "silent";
  }

  #tellName(name: string): void {
    for (const watcher of this.#watchers) {
      // Of inotify nobody hears that something was lost.
      if (this.#lossOf() !== "silent") setImmediate(() => this.#watchers.has(watcher) && watcher(name));
    }
  }

  /** A namespace lives as long as it has a name, somebody holds it open or has a socket in it. */
  #endUnused(): void {
    const used = new Set([this.host, ...this.#named.values(), ...this.#descriptors.values()]);
    for (const namespace of this.#living) {
      if (used.has(namespace) || namespace.isListenedTo) continue;
      this.#living.delete(namespace);
      for (const device of namespace.links.devices) namespace.links.remove(device);
      for (const { links } of this.#living)
        for (const device of links.devices) if (device.underlay === namespace.links) links.remove(device);
    }
  }
}

function nameAt(path: string): string {
  const plain = normalize(path);
  return plain.startsWith(namedDirectory) ? plain.slice(namedDirectory.length) : plain;
}
