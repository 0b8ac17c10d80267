import { EventSocket, netlinkProtocol } from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";

/** linux/netfilter/nfnetlink.h: changes of nftables' rules. */
const NFNLGRP_NFTABLES = 7;

/** Calls back when any table, chain, rule or set of the namespace changes, by whomever. */
export function watchFilters(namespace: KernelNamespace, onChange: () => void): EventSocket {
  return new EventSocket({
    open: (options) => namespace.openTransport(options),
    protocol: netlinkProtocol.netfilter,
    groups: [NFNLGRP_NFTABLES],
    onEvent: onChange,
    onOverrun: onChange,
  });
}
