import { eventGroup } from "../../netlink/events.ts";
import {
  createHtbClass,
  createQdisc,
  type HtbClass,
  type Qdisc,
  qdiscParent,
  RTM_DELQDISC,
  RTM_DELTCLASS,
  RTM_NEWQDISC,
  RTM_NEWTCLASS,
  readHtbClass,
  readQdisc,
} from "../../netlink/qdisc.ts";
import { header } from "../../netlink/traffic-control.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device } from "./device.ts";
import type { Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told, viewOf } from "./request.ts";

/** Where `struct tcmsg` says what hangs on a class. linux/rtnetlink.h */
const infoOffset = 16;

/** The htb at the root of a device, its classes, and the tbf of each. */
interface Tree {
  readonly root: Qdisc;
  readonly classes: Map<number, HtbClass>;
  /** By handle. */
  readonly queues: Map<number, Qdisc>;
}

/** Trees of classes on one namespace's devices, as a kernel has them that knows htb and tbf, and no fq_codel. */
export class Shaping implements Family {
  readonly #links: Links;
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #trees = new Map<Device, Tree>();

  constructor(links: Links, tell: (group: number, message: FakeMessage) => void) {
    this.#links = links;
    this.#tell = tell;
  }

  /** Whether the device has a tree with this handle. */
  has(device: Device, handle: number): boolean {
    return this.#trees.get(device)?.root.handle === handle;
  }

  /** Trees of devices that there are. */
  get all(): readonly Tree[] {
    return [...this.#trees].filter(([device]) => this.#links.devices.includes(device)).map(([, tree]) => tree);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    return this.#handleQdisc(request) ?? this.#handleClass(request);
  }

  #handleQdisc(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWQDISC);
    if (operation === undefined || operation === "set") return undefined;
    if (operation === "dump") {
      const qdiscs = this.all.flatMap(({ root, queues }) => [root, ...queues.values()]);
      return { messages: qdiscs.map((each) => told(RTM_NEWQDISC, createQdisc(each))) };
    }
    const { payload } = request;
    const { index, handle, parent } = header.read(viewOf(payload), 0, payload.length);
    const device = this.#device(index);
    const tree = this.#trees.get(device);
    if (operation === "get") {
      const found = tree?.root.handle === handle ? tree.root : tree?.queues.get(handle);
      if (found === undefined) throw new Refusal("ENOENT", "Failed to find qdisc with specified handle");
      return { messages: [told(RTM_NEWQDISC, createQdisc(found))] };
    }
    if (operation === "delete") {
      const found = parent === qdiscParent.root ? tree?.root : tree?.queues.get(handle);
      // The kernel's default cannot be deleted.
      if (tree === undefined || found === undefined)
        throw new Refusal(parent === qdiscParent.root ? "EINVAL" : "ENOENT");
      if (found === tree.root) this.#trees.delete(device);
      else this.#removeQueue(tree, handle);
      this.#tell(eventGroup.trafficControl, told(RTM_DELQDISC, createQdisc(found)));
      return {};
    }
    const qdisc = readAs(request, readQdisc);
    if (qdisc.kind !== "htb" && qdisc.kind !== "tbf") throw new Refusal("ENOENT", "Specified qdisc kind is unknown");
    if (qdisc.kind === "htb") {
      refuseByFlags(request, tree !== undefined);
      this.#trees.set(device, { root: qdisc, classes: new Map(), queues: new Map() });
    } else {
      const above = tree?.classes.get(parent);
      if (tree === undefined || above === undefined) throw new Refusal("ENOENT");
      tree.queues.set(handle, qdisc);
      tree.classes.set(parent, { ...above, leaf: handle });
    }
    this.#tell(eventGroup.trafficControl, told(RTM_NEWQDISC, createQdisc(qdisc)));
    return {};
  }

  #handleClass(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWTCLASS);
    if (operation === undefined || operation === "set") return undefined;
    const { payload } = request;
    const { index, handle } = header.read(viewOf(payload), 0, payload.length);
    const device = this.#device(index);
    const tree = this.#trees.get(device);
    if (operation === "dump")
      return { messages: Array.from(tree?.classes.values() ?? [], (each) => classMessage(RTM_NEWTCLASS, each)) };
    if (tree === undefined) throw new Refusal("ENOENT");
    const present = tree.classes.get(handle);
    if (operation === "new") {
      refuseByFlags(request, present !== undefined);
      const asked = readAs(request, readHtbClass);
      // net/sched/sch_htb.c: one that is below none is below the qdisc, and stays where it was made.
      const parent = present?.parent ?? (tree.classes.has(asked.parent) ? asked.parent : tree.root.handle);
      const made = { ...asked, parent, ...(present?.leaf === undefined ? {} : { leaf: present.leaf }) };
      tree.classes.set(handle, made);
      this.#tell(eventGroup.trafficControl, classMessage(RTM_NEWTCLASS, made));
      return {};
    }
    if (present === undefined) throw new Refusal("ENOENT");
    if (operation === "get") return { messages: [classMessage(RTM_NEWTCLASS, present)] };
    if ([...tree.classes.values()].some(({ parent }) => parent === handle)) throw new Refusal("EBUSY");
    tree.classes.delete(handle);
    tree.queues.delete(present.leaf ?? 0);
    this.#tell(eventGroup.trafficControl, classMessage(RTM_DELTCLASS, present));
    return {};
  }

  #removeQueue(tree: Tree, handle: number): void {
    tree.queues.delete(handle);
    for (const [at, { leaf, ...rest }] of tree.classes) if (leaf === handle) tree.classes.set(at, rest);
  }

  #device(index: number): Device {
    const device = this.#links.get(index);
    if (device === undefined) throw new Refusal("ENODEV");
    return device;
  }
}

/** A class as the kernel tells of it. */
function classMessage(type: number, entry: HtbClass): FakeMessage {
  return {
    type,
    write(writer) {
      const start = writer.position;
      createHtbClass(entry).write(writer);
      writer.view.setUint32(start + infoOffset, entry.leaf ?? 0, true);
    },
  };
}
