export type {
  DesiredNetwork,
  LocalEndpoint,
  NetworkSettings,
  RemoteBlock,
  RemoteEndpoint,
  RemotePlace,
  Source,
} from "./desired.ts";
export { type PortTraffic, removalKind } from "./network-dataplane.ts";
export { type NetworkPlacement, NodeDataplane } from "./node-dataplane.ts";
export { type KernelObject, nameOfObject } from "./objects.ts";
export type { ReconciledTable } from "./reconcile/reconciled-table.ts";
export { notYet } from "./reconcile/table.ts";
export { type DataplaneEvent, Problems, type Report } from "./report.ts";
