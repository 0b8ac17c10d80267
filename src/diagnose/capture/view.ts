import type { EndpointStatus, NetworkStatus } from "../../api/generated/weft/v1/agent_pb.js";

/** What the agent of a node says of it. */
export interface NodeView {
  readonly node: string;
  readonly vteps: readonly string[];
  readonly networks: readonly NetworkView[];
  readonly endpoints: readonly EndpointView[];
}
export type NetworkView = Pick<
  NetworkStatus,
  "name" | "tenant" | "vni" | "namespace" | "bridge" | "encapsulation" | "port" | "standby" | "subnets"
>;
export type EndpointView = Pick<EndpointStatus, "netns" | "interface" | "port"> & {
  readonly endpoint?: Pick<NonNullable<EndpointStatus["endpoint"]>, "id" | "network" | "mac" | "ips"> | undefined;
};
