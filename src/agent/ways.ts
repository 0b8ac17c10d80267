import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import type { Network } from "../model/index.ts";
import type { Transport } from "../model/names.ts";

/** How the packets of a network travel between nodes. */
export interface Way {
  /** Absent: in no tunnel. */
  readonly transport?: Transport;
  /** Nodes that share a link reach each other without a tunnel. */
  readonly isDirect: boolean;
}

/** The way that packets are sent, and others on which they are still, or already, received. */
export interface WayNow {
  readonly way: Way;
  readonly standby: readonly Way[];
  /** Octets: while ways change, what fits all of them. */
  readonly mtu: number;
}

interface State {
  readonly wanted: Way;
  readonly wantedMtu: number;
  readonly now: WayNow;
  readonly cancel: () => void;
}

/**
 * How long the new way is received on before anything is sent on it. Nodes that the server reaches have heard of the
 * change and made their tunnels by then; one that it does not reach is left behind until it does.
 */
const preparation = seconds(5);
/** How long the old way is received on after this node has left it: other nodes leave it later or earlier. */
const withdrawal = seconds(5);

/**
 * Changes of encapsulation, port and the like, made before broken: a node first receives on the new way, then sends on
 * it, then ends the old one. Each node does so by its own clock; they need not agree on more than some seconds.
 */
export class Ways {
  readonly #clock: Clock;
  readonly #onStep: (network: string) => void;
  readonly #states = new Map<string, State>();

  constructor(clock: Clock, onStep: (network: string) => void) {
    this.#clock = clock;
    this.#onStep = onStep;
  }

  /** The network is to travel so; tells how it travels now. `onStep` is called each time that this changes. */
  want(network: string, wanted: Way, mtu: number): WayNow {
    const state = this.#states.get(network);
    if (state === undefined) return this.#enter(network, wanted, mtu, { way: wanted, standby: [], mtu });
    const isSettled = state.now.standby.length === 0;
    if (isSameWay(wanted, state.wanted)) {
      if (mtu === state.wantedMtu) return state.now;
      const now = isSettled ? { ...state.now, mtu } : { ...state.now, mtu: Math.min(mtu, state.now.mtu) };
      this.#states.set(network, { ...state, wantedMtu: mtu, now });
      return now;
    }
    state.cancel();
    const { way, standby, mtu: mtuBefore } = state.now;
    const others = [wanted, ...standby].filter((other) => !isSameWay(other, way));
    const now = { way, standby: withoutRepetition(others), mtu: Math.min(mtu, mtuBefore) };
    return this.#enter(
      network,
      wanted,
      mtu,
      now,
      this.#clock.after(preparation, () => this.#send(network)),
    );
  }

  /** How the network travels now; `undefined`: there is no such network. */
  now(network: string): WayNow | undefined {
    return this.#states.get(network)?.now;
  }

  forget(network: string): void {
    this.#states.get(network)?.cancel();
    this.#states.delete(network);
  }

  #send(network: string): void {
    const state = this.#states.get(network);
    if (state === undefined) return;
    const { wanted, wantedMtu, now } = state;
    const standby = withoutRepetition([now.way, ...now.standby]).filter((way) => !isSameWay(way, wanted));
    const cancel = this.#clock.after(withdrawal, () => this.#settle(network));
    this.#enter(network, wanted, wantedMtu, { way: wanted, standby, mtu: now.mtu }, cancel);
    this.#onStep(network);
  }

  #settle(network: string): void {
    const state = this.#states.get(network);
    if (state === undefined) return;
    this.#enter(network, state.wanted, state.wantedMtu, { way: state.wanted, standby: [], mtu: state.wantedMtu });
    this.#onStep(network);
  }

  #enter(network: string, wanted: Way, wantedMtu: number, now: WayNow, cancel: () => void = () => {}): WayNow {
    this.#states.set(network, { wanted, wantedMtu, now, cancel });
    return now;
  }
}

/** The way that a network asks for. */
export function wayOf({ encapsulation, port, crossSubnet }: Network): Way {
  return encapsulation === "direct"
    ? { isDirect: true }
    : { transport: { encapsulation, port }, isDirect: crossSubnet };
}

/** `vxlan:4789`, `gre`, `direct`; crossSubnet adds ` or direct`. */
export function wayText({ transport, isDirect }: Way): string {
  if (transport === undefined) return "direct";
  const { encapsulation, port } = transport;
  return `${encapsulation}${port === 0 ? "" : `:${port}`}${isDirect ? " or direct" : ""}`;
}

function isSameWay(a: Way, b: Way): boolean {
  return (
    a.isDirect === b.isDirect &&
    a.transport?.encapsulation === b.transport?.encapsulation &&
    a.transport?.port === b.transport?.port
  );
}

function withoutRepetition(ways: readonly Way[]): Way[] {
  return ways.filter((way, index) => ways.findIndex((other) => isSameWay(way, other)) === index);
}
