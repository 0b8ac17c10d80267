/** When a node that made ready takes an endpoint over: as soon as it is ready, or when the endpoint announces itself there. */
export const takeOverMoments = ["ready", "announced"] as const;
export type TakeOverMoment = (typeof takeOverMoments)[number];

/** The node that makes ready to take an endpoint over. */
export interface Standby {
  readonly node: string;
  readonly when: TakeOverMoment;
  /**
   * How the endpoint is attached where it is, as its node says: for a node that shall attach it by itself. Absent: it need not, or that
   * is not said yet.
   */
  readonly port?: OfferedPort;
  /** Where it shall be attached there, as an administrator says. Absent: as it is attached where it is. */
  readonly place?: StandbyPlace;
  /** The node that has the endpoint is dead, and will not forward. Absent: it is not. */
  readonly fromDead?: true;
}

/** Where an endpoint shall be attached: in a namespace, or by an interface of the host's own. */
export interface StandbyPlace {
  /** Path of the namespace; empty: {@link device} says where. */
  readonly netns: string;
  readonly interface: string;
  readonly device: string;
}

/** How an endpoint is attached on its node, beside its addresses, as one node tells another: whoever attaches it checks that. */
export interface OfferedPort {
  /** Path of the namespace; empty: {@link device} says where. */
  readonly netns: string;
  readonly interface: string;
  /** 1 to 99,999: of several networks of one container the lowest gives the default route. */
  readonly routePriority: number;
  /** An interface of the host's own namespace. */
  readonly device: string;
  /** It is a tap that is to be made, and who may open it beside root. Absent: there is one. */
  readonly tap?: { readonly owner?: number; readonly group?: number; readonly multiQueue: boolean };
  /** Absent: what the network says for each endpoint. */
  readonly bandwidth?: object;
  readonly allowedAddresses: readonly { readonly prefix: string; readonly mac: string }[];
}

export function isTakeOverMoment(text: string): text is TakeOverMoment {
  return (takeOverMoments as readonly string[]).includes(text);
}
