import type { KernelBpfProgram } from "../../dataplane/kernel.ts";
import { eventGroup } from "../../netlink/events.ts";
import { type BpfFilter, bpfFilterSchema, filterHook, readBpfFilter } from "../../netlink/filter.ts";
import { clsactQdisc, createQdisc, RTM_DELQDISC, RTM_NEWQDISC, readQdisc } from "../../netlink/qdisc.ts";
import { type RedirectFilter, readRedirectFilter, replaceRedirectFilter } from "../../netlink/redirect-filter.ts";
import type { Request } from "../../netlink/request.ts";
import {
  header,
  RTM_DELTFILTER,
  RTM_NEWTFILTER,
  readBpfFilterHead,
  writeBpfFilterHead,
  writeOptions,
} from "../../netlink/traffic-control.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device } from "./device.ts";
import type { Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told, viewOf } from "./request.ts";
import type { Shaping } from "./shaping.ts";

/** One that judges packets, or one that leads them elsewhere. */
type Filter = BpfFilter | RedirectFilter;

/** The clsact qdiscs of one namespace's devices, and the filters at their hooks and at the trees of their classes. */
export class Filters implements Family {
  readonly #links: Links;
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #programAt: (fd: number) => KernelBpfProgram | undefined;
  /** By the device; there while it has a clsact qdisc. */
  readonly #present = new Map<Device, Filter[]>();
  readonly #shaping: Shaping;
  /** Those that choose classes. */
  readonly #atTrees = new Map<Device, Filter[]>();

  constructor(
    links: Links,
    shaping: Shaping,
    tell: (group: number, message: FakeMessage) => void,
    programAt: (fd: number) => KernelBpfProgram | undefined,
  ) {
    this.#links = links;
    this.#shaping = shaping;
    this.#tell = tell;
    this.#programAt = programAt;
  }

  get all(): readonly Filter[] {
    const atTrees = Array.from(this.#atTrees.keys(), (device) => [device, this.#atTree(device) ?? []] as const);
    return [...this.#present, ...atTrees].filter(([device]) => this.#isThere(device)).flatMap(([, filters]) => filters);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    return this.#handleQdisc(request) ?? this.#handleFilter(request);
  }

  #handleQdisc(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWQDISC);
    if (operation !== "new" && operation !== "delete") return undefined;
    const { index, kind } = readAs(request, readQdisc);
    if (kind !== "clsact") return undefined;
    const device = this.#device(index);
    const isPresent = this.#present.has(device);
    if (operation === "new") {
      refuseByFlags(request, isPresent);
      this.#present.set(device, []);
      this.#tell(eventGroup.trafficControl, told(RTM_NEWQDISC, createQdisc(clsactQdisc(index))));
    } else {
      if (!isPresent) throw new Refusal("EINVAL", "Cannot find specified qdisc on specified device");
      this.#present.delete(device);
      this.#tell(eventGroup.trafficControl, told(RTM_DELQDISC, createQdisc(clsactQdisc(index))));
    }
    return {};
  }

  #handleFilter(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWTFILTER);
    if (operation === undefined || operation === "set") return undefined;
    const { payload } = request;
    const { index, parent: hook, info } = header.read(viewOf(payload), 0, payload.length);
    const device = this.#device(index);
    const isHook = hooks.has(hook);
    const filters = isHook ? this.#present.get(device) : this.#atTree(device, hook);
    const keep = (kept: Filter[]): unknown => (isHook ? this.#present : this.#atTrees).set(device, kept);
    if (operation === "dump") {
      const asked = filters?.filter((each) => each.hook === hook) ?? [];
      return { messages: asked.map((each) => told(RTM_NEWTFILTER, tellFilter(each))) };
    }
    if (filters === undefined) throw new Refusal("EINVAL", "Parent Qdisc doesn't exists");
    const priority = info >>> 16;
    const others = filters.filter((each) => each.hook !== hook || each.priority !== priority);
    if (operation === "delete") {
      const [present] = filters.filter((each) => !others.includes(each));
      if (present === undefined) throw new Refusal("ENOENT");
      keep(others);
      this.#tell(eventGroup.trafficControl, told(RTM_DELTFILTER, tellFilter(present)));
      return {};
    }
    refuseByFlags(request, others.length < filters.length);
    const filter = readRedirectFilter(payload, viewOf(payload), 0, payload.length) ?? this.#judging(request);
    keep([...others, filter]);
    this.#tell(eventGroup.trafficControl, told(RTM_NEWTFILTER, tellFilter(filter)));
    return {};
  }

  #judging(request: FakeRequest): BpfFilter {
    const program = this.#programAt(descriptorIn(request.payload));
    if (program === undefined) throw new Refusal("EINVAL");
    return { ...readAs(request, readBpfFilter), programId: program.id };
  }

  /** `undefined`: there is no such tree. They go with it. */
  #atTree(device: Device, handle?: number): Filter[] | undefined {
    const filters = this.#atTrees.get(device) ?? [];
    const at = handle ?? filters[0]?.hook ?? 0;
    if (this.#shaping.has(device, at)) return filters;
    this.#atTrees.delete(device);
    return undefined;
  }

  #device(index: number): Device {
    const device = this.#links.get(index);
    if (device === undefined) throw new Refusal("ENODEV");
    return device;
  }

  #isThere(device: Device): boolean {
    return this.#links.devices.includes(device);
  }
}

const hooks: ReadonlySet<number> = new Set(Object.values(filterHook));

/** A filter as the kernel tells of it. */
function tellFilter(filter: Filter): Pick<Request, "write"> {
  return "to" in filter ? replaceRedirectFilter(filter) : tellBpfFilter(filter);
}

function tellBpfFilter({ programId: id, ...filter }: BpfFilter): Pick<Request, "write"> {
  return {
    write: (writer) => {
      writeBpfFilterHead(writer, filter);
      writeOptions(writer, bpfFilterSchema, { ...filter, id });
    },
  };
}

/** Of a request to set a filter: the descriptor of its program; 0: it names none. */
function descriptorIn(payload: Uint8Array): number {
  const head = readBpfFilterHead(payload, viewOf(payload), 0, payload.length);
  return head === undefined ? 0 : (bpfFilterSchema.read(payload, viewOf(payload), ...head.options).descriptor ?? 0);
}
