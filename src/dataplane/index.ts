export type { DesiredNetwork, NetworkSettings } from "./desired.ts";
export { NodeDataplane } from "./node-dataplane.ts";
export type { DataplaneEvent } from "./report.ts";
