/**
 * Routing netlink for Node.js: links, addresses, routes, rules, neighbours, FDB, nexthops and traffic control,
 * spoken to the kernel directly, in any network namespace.
 *
 * Functions make requests (`createLink`, `replaceFdbEntry`, `listRoutes`, …); a {@link NetlinkSocket} carries them
 * out one by one or in batches; a {@link Watch} tells what changes, an {@link EventSocket} in the kernel's own bytes.
 */
export {
  createNamedNamespace,
  deleteNamedNamespace,
  isErrno,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  netlinkProtocol,
  SystemError,
} from "../linux/index.ts";
export * from "./address.ts";
export { type Channel, type ChannelOptions, openKernelChannel } from "./channel.ts";
export { type EventMessage, EventSocket, type EventSocketOptions, eventGroup, withoutNewNeighbours } from "./events.ts";
export {
  type BpfFilter,
  deleteFilter,
  filterHook,
  listBpfFilters,
  listFilterPriorities,
  replaceBpfFilter,
} from "./filter.ts";
export * from "./link.ts";
export type { BridgePortSettings, BridgeSettings } from "./link-kinds/bridge.ts";
export type { GeneveSettings } from "./link-kinds/geneve.ts";
export { type GreSettings, greFlag } from "./link-kinds/gre.ts";
export { type IpTunnelSettings, ip6TunnelFlag, ipTunnelProtocol } from "./link-kinds/ip-tunnel.ts";
export type { VxlanSettings } from "./link-kinds/vxlan.ts";
export { isGone, lookUp } from "./look-up.ts";
export { type NamespaceReference, namespaceIdOf } from "./namespace-id.ts";
export * from "./neighbour.ts";
export { type Netconf, netconfIndex, RTM_NEWNETCONF, readNetconf } from "./netconf.ts";
export * from "./nexthop.ts";
export { addNftElements, deleteNftElements, readNftElements } from "./nft/element.ts";
export { type NftField, nftField, packetAddress, packetNumber } from "./nft/key.ts";
export type { NftFamily } from "./nft/message.ts";
export { addNftSet, deleteNftSet, isSameSet, listNftSets, type NftSet, type NftSetLayout } from "./nft/set.ts";
export { addNftTable, deleteNftTable, listNftTables } from "./nft/table.ts";
export * from "./qdisc.ts";
export {
  listRedirectFilters,
  type RedirectFilter,
  replaceRedirectFilter,
} from "./redirect-filter.ts";
export type { Query, Request } from "./request.ts";
export * from "./route.ts";
export * from "./rule.ts";
export {
  type BatchFailure,
  type BatchResult,
  DumpInterruptedError,
  NetlinkSocket,
  type SocketOptions,
} from "./socket.ts";
export type { TrafficStatistics } from "./traffic-control.ts";
export { Watch, type WatchEvents, type WatchOptions } from "./watch.ts";
