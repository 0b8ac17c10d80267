import type { Cidr } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import { type MacAddress, macFromBytes } from "../base/mac.ts";
import type { Labels, Policy } from "../model/policy/index.ts";
import type { Network, Node } from "../model/resources.ts";
import { plainRecords, records } from "../server/records.ts";
import { State } from "../server/state.ts";
import type { Operation } from "../store/store.ts";

/** What a {@link serverState} holds. */
export interface Declared {
  readonly networks: readonly Network[];
  readonly endpoints?: readonly {
    readonly id: string;
    readonly network: string;
    readonly node: string;
    readonly ips: readonly IpAddress[];
    readonly labels?: Labels;
  }[];
  /** Of l3 networks. */
  readonly blocks?: readonly { readonly network: string; readonly cidr: Cidr; readonly node: string }[];
  readonly policies?: readonly Policy[];
  readonly nodes?: readonly Node[];
}

/** The state of a server that holds these, without a store. */
export function serverState({ networks, endpoints = [], blocks = [], policies = [], nodes = [] }: Declared): State {
  const state = new State(new ManualClock());
  const put = (operation: Operation): void => {
    const revision = state.revision + 1;
    state.apply({ ...operation, revision }, () => {});
    state.settle(revision, () => {});
  };
  for (const node of nodes) put(records.node.put(node, node.name));
  for (const network of networks) put(records.network.put(network, network.name));
  for (const { network, cidr, node } of blocks)
    put(records.block.put({ node, generation: 1, closing: false, released: 0 }, network, cidr));
  for (const endpoint of endpoints)
    put(
      records.endpoint.put(
        { ...endpoint, mac: macOf(endpoint.id), attachment: "netns", sequence: 0 },
        endpoint.network,
        endpoint.id,
      ),
    );
  for (const policy of policies) put(plainRecords.policy.put(policy, policy.name));
  return state;
}

function macOf(id: string): MacAddress {
  return macFromBytes(Uint8Array.of(2, ...Buffer.from(id, "hex").subarray(1)));
}
