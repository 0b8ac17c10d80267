export { closeDescriptor } from "./descriptor.ts";
export {
  createNamedNamespace,
  deleteNamedNamespace,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  nameNamespace,
  processesIn,
} from "./namespace.ts";
export { type NetlinkSocketOptions, netlinkProtocol, RawNetlinkSocket } from "./netlink-socket.ts";
export { type StopWatching, watchReadable } from "./readiness.ts";
export { readNetworkSysctl, writeNetworkSysctl } from "./sysctl.ts";
export { isErrno, SystemError } from "./system-error.ts";
