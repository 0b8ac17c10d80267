export { DesiredNetwork, type LocalEndpoint, type NetworkSettings, type RemoteEndpoint } from "./desired.ts";
export type { NetworkDataplane } from "./network-dataplane.ts";
export { NodeDataplane, type NodeDataplaneOptions } from "./node-dataplane.ts";
export type { DataplaneEvent, Problem, Problems, Report } from "./report.ts";
