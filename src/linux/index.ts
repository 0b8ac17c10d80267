export { addressResolutionFilter, announcementFilter } from "./address-resolution.ts";
export { assembleBpf, type BpfStep } from "./bpf.ts";
export { type BpfMapLayout, type BpfObject, readBpfObject } from "./bpf-object.ts";
export { type CapturedFrame, CaptureSocket } from "./capture-socket.ts";
export { configurationRequestFilter } from "./configuration-requests.ts";
export { DatagramSocket, type DatagramSocketOptions } from "./datagram-socket.ts";
export { BpfMap, BpfProgram } from "./ebpf.ts";
export { memoryFile } from "./memory-file.ts";
export { metadataRequestFilter } from "./metadata-requests.ts";
export { listMulticastGroups } from "./multicast-groups.ts";
export { nameRequestFilter } from "./name-requests.ts";
export {
  canonicalNamespacePath,
  createNamedNamespace,
  deleteNamedNamespace,
  isPathOfThisProcess,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  nameNamespace,
  namespaceInodeAt,
  processesIn,
} from "./namespace.ts";
export { netlinkProtocol, RawNetlinkSocket } from "./netlink-socket.ts";
export { PacketSender, PacketSocket, type PacketSocketOptions, packetType } from "./packet-socket.ts";
export { watchReadable } from "./readiness.ts";
export { readNetworkFile, readNetworkSysctl, writeNetworkSysctl } from "./sysctl.ts";
export { isErrno, SystemError } from "./system-error.ts";
export { makeTap, type NewTap, type TapSettings } from "./tap.ts";
