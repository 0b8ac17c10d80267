import { setTimeout as pause } from "node:timers/promises";
import { WeftError } from "../../base/errors.ts";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { NodeDataplane } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import type { Arrival, Arrivals, Departures, ProbeRefusal, Train } from "./correspondence.ts";
import { outerProtocol, type ProbeWay, probePayload, readProbe, smallestProbe } from "./packet.ts";
import { now } from "./time.ts";
import { ProbeWatch } from "./watch.ts";

/** The way of a network's packets from this node to a VTEP; `undefined`: it has none by a tunnel, or does not lead there. */
export function wayOf(dataplane: NodeDataplane, network: string, to: IpAddress): ProbeWay | undefined {
  const { transport, vni, localVtep } = dataplane.networks.get(network)?.settings ?? {};
  if (transport === undefined || vni === undefined || localVtep === undefined) return undefined;
  if (familyOf(localVtep) !== familyOf(to)) return undefined;
  return { ...transport, vni, from: localVtep, to };
}

/** How long after the last probe word of refusals, and of what left, is waited for; milliseconds. */
const aftermath = 50;
/** Probes sent in one go before the event loop has its turn. */
const perTurn = 8;

/** Sends a train from this host, as its tunnel would, and tells what left and what was refused. */
export async function sendTrain(host: KernelNamespace, way: ProbeWay, train: Train): Promise<Departures> {
  const smallest = smallestProbe(way);
  const tooSmall = train.sizes.find((size) => size < smallest);
  if (tooSmall !== undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted: `send probes to ${way.to}`,
      reason: `found a size of ${tooSmall} octets; allowed: from ${smallest}`,
    });
  using socket = host.openDatagramSocket({ source: way.from, protocol: outerProtocol(way) });
  using watch = ProbeWatch.onHost(host, train.id);
  const refusals: ProbeRefusal[] = [];
  const drain = (): void => {
    for (let refusal = socket.readRefusal(); refusal !== undefined; refusal = socket.readRefusal())
      // The sender's own refusals are told by the call that sends.
      if (refusal.by !== undefined)
        refusals.push({
          sequence: readProbe(refusal.quoted)?.sequence ?? unknownSequence,
          error: refusal.error,
          by: refusal.by,
          mtu: refusal.mtu,
        });
  };
  const began = performance.now();
  for (const [sequence, size] of train.sizes.entries()) {
    const due = began + (sequence * train.interval) / 1_000;
    const wait = due - performance.now();
    if (wait >= 1) await pause(wait);
    else if (sequence % perTurn === 0) await pause(0);
    const send = (): string | undefined =>
      socket.send(way.to, way.port, probePayload(way, { train: train.id, sequence, sentAt: now() }, size));
    let error = send();
    // What others said of earlier ones is told by the next call, which then sends nothing.
    if (error !== undefined) {
      drain();
      error = send();
    }
    if (error !== undefined) refusals.push({ sequence, error, by: "", mtu: 0 });
  }
  await pause(aftermath);
  drain();
  const sequences = watch.seen.filter(({ isOutgoing }) => isOutgoing).map(({ sequence }) => sequence);
  return { sequences: [...new Set(sequences)], refusals };
}

/** Of a refusal that quotes too little of the packet. */
const unknownSequence = 0xffff_ffff;

/** Watches for a train that comes in: on the host's interfaces, and out of the network's tunnel. */
export class TrainWatch {
  readonly #host: ProbeWatch;
  readonly #tunnel: ProbeWatch | undefined;

  /** `from`: the VTEP of whoever sends it. */
  constructor(host: KernelNamespace, dataplane: NodeDataplane, train: Pick<Train, "id" | "network">, from: IpAddress) {
    const { namespace, dataplane: network } = dataplane.network(train.network) ?? {};
    const tunnel = network?.tunnels.towards(from);
    // The host's last: the tunnel may be gone by now, which throws.
    this.#tunnel =
      namespace === undefined || tunnel === undefined
        ? undefined
        : ProbeWatch.onDevice(namespace, tunnel.index, train.id);
    this.#host = ProbeWatch.onHost(host, train.id);
  }

  /** Indexes of the host's interfaces that probes came in by. */
  get interfaces(): ReadonlySet<number> {
    return new Set(this.#host.seen.filter(({ isOutgoing }) => !isOutgoing).map(({ by }) => by));
  }

  count(): Arrivals {
    const arrived = (watch: ProbeWatch | undefined): readonly Arrival[] => {
      const first = new Map<number, Arrival>();
      // Where bridges and bonds of the host pass it on, it is seen on each.
      for (const { sequence, delay, isChanged, isOutgoing } of watch?.seen ?? [])
        if (!isOutgoing && !first.has(sequence)) first.set(sequence, { sequence, delay, isChanged });
      return [...first.values()];
    };
    return {
      atInterface: arrived(this.#host),
      atTunnel: arrived(this.#tunnel),
      missed: this.#host.missed + (this.#tunnel?.missed ?? 0),
    };
  }

  [Symbol.dispose](): void {
    this.#host[Symbol.dispose]();
    this.#tunnel?.[Symbol.dispose]();
  }
}
