/**
 * `error`: something does not work because of it. `warning`: it works, and will not for long or not for all. `notice`: it is meant
 * to be so, and explains what people see.
 */
export type Severity = "error" | "warning" | "notice";

/** What is the same in all findings of a code. */
interface Entry {
  readonly severity: Severity;
  /** In a few words, for people who see nothing but the code. */
  readonly title: string;
  /** Why it is likely to be so, unless the check knows better. */
  readonly cause: string;
  /** What to do, unless the check knows better. */
  readonly cure: string;
}

/** Codes stay what they are once they were published; docs/findings.md explains each. */
export const findingCodes = {
  "agent-stopped": {
    severity: "error",
    title: "the agent of this node does not run",
    cause: "it was stopped, or ended by an error that its log names",
    cure: "systemctl start weft-agent; see journalctl -u weft-agent",
  },
  "server-unreachable": {
    severity: "error",
    title: "the agent has no connection to the server",
    cause: "the server is down, or something between the two drops its packets",
    cure: "see whether the server runs: systemctl status weft-server on its host",
  },
  "server-name-unresolved": {
    severity: "error",
    title: "the name of the server has no address",
    cause: "the name is gone from the DNS, or this host's resolver does not answer",
    cure: "see /etc/resolv.conf and what the resolver says: getent hosts NAME",
  },
  "certificate-expired": {
    severity: "error",
    title: "the certificate of this node is not valid now",
    cause: "the node was away from its server for longer than a certificate lives, or its clock is wrong",
    cure: "set the clock right; with a certificate that is over, join again: weft token create on the server's host",
  },
  "certificate-expiring": {
    severity: "warning",
    title: "the certificate of this node ends soon and was not renewed",
    cause: "it is renewed when two thirds of its life are over, and the server has not been reached since",
    cure: "see why the server cannot be reached: weft status",
  },
  "clock-skew": {
    severity: "error",
    title: "the clocks of this node and of the server differ",
    cause: "no time service sets this host's clock",
    cure: "timedatectl set-ntp true",
  },
  "disk-full": {
    severity: "error",
    title: "the file system of the agent's data is full",
    cause: "what is written there by other programs, or the log",
    cure: "make room: du -xh --max-depth=2 on that file system; nothing of weft's needs more than some megabytes",
  },
  "cpu-starved": {
    severity: "warning",
    title: "the agent gets too little of the processors",
    cause: "a limit of its control group, or more work than the machine has processors for",
    cure: "raise CPUQuota= of weft-agent.service, or see what runs: top",
  },
  "file-limit": {
    severity: "warning",
    title: "the agent is near its limit of open files",
    cause: "LimitNOFILE= of its unit is too small for what it hosts",
    cure: "raise LimitNOFILE= of weft-agent.service and restart it",
  },
  "version-skew": {
    severity: "warning",
    title: "nodes run different versions of weft",
    cause: "an upgrade that has not reached all nodes",
    cure: "upgrade the nodes that are behind",
  },
  "kernel-trouble": {
    severity: "warning",
    title: "this kernel has a known fault that concerns weft",
    cause: "the fault is mended in later kernels",
    cure: "upgrade the kernel",
  },
  "node-isolated": {
    severity: "error",
    title: "a node that shares networks is not connected to the server",
    cause: "its agent does not run, or it cannot reach the server",
    cure: "run weft doctor there",
  },
  "object-not-in-place": {
    severity: "error",
    title: "something that weft keeps is not as it should be",
    cause: "the kernel refused it",
    cure: "see weft status and weft events for what was refused and why",
  },
  "bridge-missing": {
    severity: "error",
    title: "a network has no bridge on this node",
    cause: "somebody deleted it, or its name is taken",
    cure: "the agent makes it again by itself when it runs and the name is free",
  },
  "tunnel-missing": {
    severity: "error",
    title: "a network has no tunnel on this node",
    cause: "somebody deleted it while no agent ran",
    cure: "the agent makes it again by itself when it runs",
  },
  "tunnel-differs": {
    severity: "error",
    title: "a tunnel is not as its network says",
    cause: "somebody made or changed it by hand while no agent ran",
    cure: "the agent sets it right by itself when it runs",
  },
  "tunnel-port-taken": {
    severity: "error",
    title: "another program or device has the tunnel's port or key",
    cause: "another overlay or a device made by hand uses the same UDP port or VNI on this host",
    cure: "give the network another port: weft network set NETWORK --port PORT; or end the other user of it",
  },
  "flood-entry-missing": {
    severity: "error",
    title: "a node does not get the frames that a network floods",
    cause: "somebody deleted the entry while no agent ran",
    cure: "the agent sets it again by itself when it runs",
  },
  "fdb-entry-missing": {
    severity: "error",
    title: "a MAC address leads nowhere",
    cause: "somebody deleted the entry while no agent ran",
    cure: "the agent sets it again by itself when it runs",
  },
  "fdb-entry-differs": {
    severity: "error",
    title: "a MAC address leads to the wrong VTEP or port",
    cause: "somebody changed the entry while no agent ran, or it is of an earlier owner of the address",
    cure: "the agent sets it right by itself when it runs",
  },
  "fdb-entry-foreign": {
    severity: "warning",
    title: "a forwarding entry that is not weft's",
    cause: "somebody or another program made it",
    cure: "bridge fdb del MAC dev DEVICE, in the tenant's namespace",
  },
  "neighbour-missing": {
    severity: "error",
    title: "nobody answers ARP for an address",
    cause: "somebody deleted the entry while no agent ran",
    cure: "the agent sets it again by itself when it runs",
  },
  "neighbour-differs": {
    severity: "error",
    title: "ARP for an address is answered with the wrong MAC",
    cause: "somebody changed the entry while no agent ran",
    cure: "the agent sets it right by itself when it runs",
  },
  "route-missing": {
    severity: "error",
    title: "a block of addresses has no route",
    cause: "somebody deleted the route while no agent ran",
    cure: "the agent sets it again by itself when it runs",
  },
  "route-differs": {
    severity: "error",
    title: "a block of addresses is routed elsewhere",
    cause: "somebody changed the route while no agent ran",
    cure: "the agent sets it right by itself when it runs",
  },
  "vtep-address-missing": {
    severity: "error",
    title: "the VTEP address is on no interface of this host",
    cause: "the address was removed or changed, or the agent was told a wrong one",
    cure: "ip address add ADDRESS/LENGTH dev INTERFACE; or start the agent with the right --underlay",
  },
  "vtep-address-duplicate": {
    severity: "error",
    title: "another host has the VTEP address of this node",
    cause: "the address was given out twice",
    cure: "take the address from the other host, whose MAC is told",
  },
  "underlay-link-down": {
    severity: "error",
    title: "the underlay's interface is down",
    cause: "somebody set it down, or it has no carrier: cable, switch port, or the other end",
    cure: "ip link set INTERFACE up; see ethtool INTERFACE for the carrier",
  },
  "underlay-route-missing": {
    severity: "error",
    title: "there is no route to another node's VTEP",
    cause: "the route was removed, or the routing daemon does not have it",
    cure: "ip route get VTEP from ADDRESS; add the route, or see the routing daemon",
  },
  "underlay-route-asymmetric": {
    severity: "warning",
    title: "packets to a VTEP leave by another interface than those from it come in by",
    cause: "a more specific route or a rule leads it elsewhere",
    cure: "ip route get VTEP from ADDRESS; take away the route that leads it elsewhere",
  },
  "underlay-neighbour-failed": {
    severity: "error",
    title: "nobody answers for the next hop to a VTEP",
    cause: "the other host or the router is down, or is not on this link",
    cure: "ip neighbour show; see whether the host is up and on the same link",
  },
  "underlay-path-dead": {
    severity: "error",
    title: "one of several paths to a VTEP leads nowhere",
    cause: "the router of that path is down while the route still names it",
    cure: "take the next hop out of the route until it is back: ip route replace",
  },
  "rp-filter-strict": {
    severity: "error",
    title: "the reverse path filter drops packets of a VTEP",
    cause: "rp_filter is 1 and the way back to the VTEP is another interface",
    cure: "sysctl -w net.ipv4.conf.INTERFACE.rp_filter=2",
  },
  "forwarding-off": {
    severity: "error",
    title: "this host does not forward packets that networks need it to",
    cause: "another program or a person switched forwarding off",
    cure: "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
  },
  "neighbour-table-full": {
    severity: "error",
    title: "the kernel's neighbour table is at its limit",
    cause: "more hosts on this machine's links than net.ipv4.neigh.default.gc_thresh3 allows",
    cure: "sysctl -w net.ipv4.neigh.default.gc_thresh3=8192",
  },
  "conntrack-full": {
    severity: "error",
    title: "the connection tracking table is full",
    cause: "more connections than net.netfilter.nf_conntrack_max allows",
    cure: "sysctl -w net.netfilter.nf_conntrack_max=262144",
  },
  "firewall-drops-tunnel": {
    severity: "error",
    title: "a rule of this host's firewall drops tunnel packets",
    cause: "the rule that is told",
    cure: "delete the rule that is told, or accept the tunnel's packets before it",
  },
  "firewall-drops-forward": {
    severity: "error",
    title: "a rule of this host's firewall drops what networks forward",
    cause: "the rule or policy that is told; Docker sets FORWARD to drop",
    cure: "accept the networks' subnets before it",
  },
  "path-blocked": {
    severity: "error",
    title: "tunnel packets to or from a node do not arrive",
    cause: "a firewall or router between the nodes drops the protocol",
    cure: "let the tunnel's protocol pass between the two addresses",
  },
  "path-mtu": {
    severity: "error",
    title: "large tunnel packets to or from a node do not arrive",
    cause: "a link between the nodes has a smaller MTU than both know",
    cure: "weft network set NETWORK --mtu MTU; or raise the MTU of the link",
  },
  "path-loss": {
    severity: "warning",
    title: "some tunnel packets to or from a node are lost",
    cause: "a link or device between the nodes loses packets, or is full",
    cure: "mtr VTEP; see errors and drops of interfaces: ip -s link",
  },
  "path-delay": {
    severity: "warning",
    title: "tunnel packets between two nodes take long",
    cause: "the way between the nodes is long, or a queue on it is full",
    cure: "mtr VTEP shows where the time is spent",
  },
  "path-reordering": {
    severity: "warning",
    title: "tunnel packets of one flow arrive in another order",
    cause: "a device on the way spreads packets of one flow over several paths or queues",
    cure: "let the device hash by addresses and ports, and not packet by packet",
  },
  "path-corrupts": {
    severity: "error",
    title: "tunnel packets arrive changed",
    cause: "a broken device or offload on the way changes octets",
    cure: "switch checksum offload of the interface off: ethtool -K INTERFACE tx off rx off; replace what is broken",
  },
  "path-unexamined": {
    severity: "notice",
    title: "the way to a VTEP cannot be examined",
    cause: "it is no node of weft's, or that one is not connected to the server",
    cure: "run weft doctor when it is connected",
  },
  "endpoint-namespace-gone": {
    severity: "error",
    title: "the namespace of an endpoint is gone",
    cause: "whoever made the container removed it without detaching the endpoint",
    cure: "weft detach",
  },
  "endpoint-interface-missing": {
    severity: "error",
    title: "an endpoint has no interface in its namespace",
    cause: "somebody deleted it or moved it elsewhere",
    cure: "the agent makes it again by itself when it runs",
  },
  "endpoint-link-down": {
    severity: "error",
    title: "the interface of an endpoint is down",
    cause: "somebody inside set it down",
    cure: "ip link set INTERFACE up, in the container",
  },
  "endpoint-address-missing": {
    severity: "error",
    title: "an endpoint lacks its address",
    cause: "somebody inside removed or changed it",
    cure: "ip address add ADDRESS dev INTERFACE, in the container",
  },
  "endpoint-mtu-differs": {
    severity: "error",
    title: "the MTU of an endpoint is not its network's",
    cause: "somebody inside changed it",
    cure: "ip link set INTERFACE mtu MTU, in the container",
  },
  "endpoint-gateway-differs": {
    severity: "error",
    title: "an endpoint sends to another gateway than its network's",
    cause: "somebody inside changed the route",
    cure: "ip route replace default via GATEWAY, in the container",
  },
  "endpoint-default-route-missing": {
    severity: "error",
    title: "an endpoint has no default route",
    cause: "somebody inside removed it",
    cure: "ip route add default via GATEWAY, in the container",
  },
  "endpoint-firewall": {
    severity: "warning",
    title: "a firewall inside a container drops packets",
    cause: "the rule that is told, in the container's own namespace",
    cure: "nft list ruleset, in the container",
  },
  "endpoint-duplicate-address": {
    severity: "error",
    title: "a container has the address of another endpoint",
    cause: "somebody inside gave it to itself; what it sends with it is dropped",
    cure: "ip address del ADDRESS dev INTERFACE, in the container",
  },
  "endpoint-duplicate-mac": {
    severity: "error",
    title: "a container has the MAC address of another endpoint",
    cause: "somebody inside set it, or the machine was cloned",
    cure: "ip link set INTERFACE address MAC, in the container",
  },
  "endpoint-sends-what-is-not-its-own": {
    severity: "warning",
    title: "an endpoint tries to send what it may not",
    cause: "it claims addresses that are not its own, or plays router or DHCP server",
    cure: "see weft endpoint show; weft attach --allow ADDRESS, or --no-anti-spoof of its network, if it shall",
  },
  "policy-denies": {
    severity: "notice",
    title: "a policy drops packets of an endpoint",
    cause: "the policy says so",
    cure: "weft policy explain FROM TO",
  },
  "bandwidth-exhausted": {
    severity: "notice",
    title: "a limit of bandwidth drops or delays packets",
    cause: "more is sent than the limit allows",
    cure: "weft network set NETWORK --bandwidth, or --endpoint-bandwidth; weft network show tells what is used",
  },
  "network-manager": {
    severity: "warning",
    title: "a network manager of this host is about to take weft's interfaces",
    cause: "it has not been told to leave them alone",
    cure: "install the configuration that is told",
  },
  "check-failed": {
    severity: "warning",
    title: "a check of weft's could not be made",
    cause: "the error that is told",
    cure: "report it with what is told",
  },
} as const satisfies Readonly<Record<string, Entry>>;

export type FindingCode = keyof typeof findingCodes;
