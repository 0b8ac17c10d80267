export type {
  DesiredNetwork,
  DevicePlace,
  LocalEndpoint,
  NamespacePlace,
  NetworkSettings,
  PortPlace,
  RemoteBlock,
  SandboxPlace,
} from "./desired.ts";
export { unfitAsEndpoint } from "./devices/host-devices.ts";
export { type PortTraffic, removalKind } from "./network-dataplane.ts";
export { NodeDataplane, type ProgrammedNetwork } from "./node-dataplane.ts";
export { type KernelObject, nameOfObject } from "./objects.ts";
export type { ReconciledTable } from "./reconcile/reconciled-table.ts";
export { notYet } from "./reconcile/table.ts";
export type { RemoteEndpoint, RemotePlace, Source } from "./remote-endpoints.ts";
export { type DataplaneEvent, Problems, type Report } from "./report.ts";
export type { Floating } from "./uplink/request.ts";
