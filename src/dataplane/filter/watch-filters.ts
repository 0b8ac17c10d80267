import { type NetworkNamespace, netlinkProtocol } from "../../linux/index.ts";
import { EventSocket } from "../../netlink/index.ts";

/** linux/netfilter/nfnetlink.h: changes of nftables' rules. */
const NFNLGRP_NFTABLES = 7;

/** Calls back when any table, chain, rule or set of the namespace changes, by whomever. */
export function watchFilters(namespace: NetworkNamespace, onChange: () => void): EventSocket {
  return new EventSocket({
    namespace,
    protocol: netlinkProtocol.netfilter,
    groups: [NFNLGRP_NFTABLES],
    onEvent: onChange,
    onOverrun: onChange,
  });
}
