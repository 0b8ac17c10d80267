/*
 * The guard of an endpoint's port: an eBPF program at the port's clsact ingress, where each frame comes by that the
 * endpoint sends, before the bridge or anything else sees it. What the endpoint may not send ends here, and is counted
 * by reason. What a port may send stands in maps (rows.ts); a port that is not in them may send nothing.
 */
#include "packet.h"

/* Put in by the loader: the number of the tenant whose ports the program stands at. */
extern const char tenant_number;
#define TENANT ((__u32)(unsigned long)&tenant_number)

/* Why a frame was dropped; rows.ts has their names in the same order. */
enum reason {
	MALFORMED,
	MAC,
	IP,
	ARP,
	NEIGHBOUR_DISCOVERY,
	ROUTER_ADVERTISEMENT,
	REDIRECT,
	DHCP_SERVER,
	VLAN_TAG,
	TUNNEL,
	STORM,
	UNKNOWN_UNICAST,
	REASONS,
};
/* HEARD: it goes no further, and is no more than what its receiver has by now. */
enum { PASS = -1, HEARD = -2 };

struct port_key {
	__u32 tenant;
	__u32 index;
};

/* What addresses are told of. */
enum kind {
	/* `scope`: a port. It may send with them. */
	OWN_MAC = 1,
	OWN_IPV4 = 4,
	OWN_IPV6 = 6,
	/* `scope`: a network whose ports may send with what nobody has: somebody has them. Of MACs `macs` tells it. */
	TAKEN_IPV4 = 0x14,
	TAKEN_IPV6 = 0x16,
	/* `tenant` and `scope`: 0. UDP ports of tunnels, in the first two octets. */
	TUNNEL_PORT = 0x20,
};

struct address_key {
	__u32 tenant;
	__u32 scope;
	__u32 kind;
	__u8 octets[16];
};

struct prefix_key {
	/* Bits that count, from `tenant` on. */
	__u32 length;
	struct address_key of;
};

enum port_flags {
	/* It sends what it likes: a router's, or that of a nested cloud. */
	TRUSTED = 1,
	/* It may send with addresses that nobody has. */
	LEARNED = 2,
	/* Frames with a VLAN tag pass. */
	TAGGED = 4,
	/* It has rows in `prefixes`. */
	PREFIXES = 8,
	/* The node answers what asks for configuration. */
	ANSWERED = 16,
	/* The node answers at 169.254.169.254. */
	METADATA = 32,
	/* The bridge learns from its frames. */
	TAUGHT = 64,
	/* What it sends to a MAC that nobody is known to have is counted. */
	COUNTED = 128,
};

struct port {
	__u32 flags;
	/* The VNI. */
	__u32 network;
	/*
	 * Frames to groups that may come each second, and as many to MACs that nobody has: by the port, and by all ports of the network
	 * here. 0: no limit.
	 */
	__u32 port_limit;
	__u32 network_limit;
	/* For how many windows of time the bridge remembers what it learned. */
	__u32 ageing;
	__u8 mac[ETH_ALEN];
	__u8 rest[2];
};

struct dropped {
	__u64 frames[REASONS];
};

enum flooded { TO_GROUP, TO_NOBODY, FLOODED };

/* What is flooded of the frames in the window of time that `window` numbers. */
struct storm {
	__u64 window;
	__u64 frames[FLOODED];
};

/* A MAC of a network. */
struct mac_key {
	__u32 tenant;
	/* The VNI. */
	__u32 network;
	__u8 mac[ETH_ALEN];
	/* 1: it is none: `macs` has all of the network's. */
	__u16 is_whole;
};

/* Somebody was given it; otherwise it was found to be in use. */
enum { DECLARED = 1 };

/* When a frame from a MAC was last passed on to the bridge. */
struct heard {
	__u64 window;
};

struct map SECTION("maps") ports = {
	BPF_MAP_TYPE_HASH, sizeof(struct port_key), sizeof(struct port), 32768, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") addresses = {
	BPF_MAP_TYPE_HASH, sizeof(struct address_key), sizeof(__u32), 262144, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") prefixes = {
	BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix_key), sizeof(__u32), 65536, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") dropped = {
	BPF_MAP_TYPE_HASH, sizeof(struct port_key), sizeof(struct dropped), 32768, BPF_F_NO_PREALLOC,
};
/* By port, and by network: `index` is the VNI with the highest bit set. */
struct map SECTION("maps") storms = {
	BPF_MAP_TYPE_HASH, sizeof(struct port_key), sizeof(struct storm), 65536, BPF_F_NO_PREALLOC,
};

/* Those that somebody in the network has, wherever: all that bridges know, but for what they learn here. */
struct map SECTION("maps") macs = {
	BPF_MAP_TYPE_HASH, sizeof(struct mac_key), sizeof(__u32), 524288, BPF_F_NO_PREALLOC,
};
/* What bridges learn here they know from that frame on, and so does this program. */
struct map SECTION("maps") stations = {
	BPF_MAP_TYPE_LRU_HASH, sizeof(struct mac_key), sizeof(struct heard), 16384, 0,
};

struct arp {
	__u16 hardware_type, protocol_type;
	__u8 hardware_length, protocol_length;
	__u16 operation;
	__u8 sender_mac[6], sender_ip[4];
	__u8 target_mac[6], target_ip[4];
};

struct udp {
	__u16 source, destination;
};

/* RFC 4861 sections 4.3 and 4.4, up to the options. */
struct neighbour_message {
	__u8 type, code;
	__u16 checksum;
	__u32 flags;
	__u8 target[16];
};

struct option {
	__u8 type, length;
	__u8 mac[6];
};

/* RFC 4861 section 4.6.1. */
enum { SOURCE_LINK_LAYER_ADDRESS = 1, TARGET_LINK_LAYER_ADDRESS = 2 };

/* Options that are more than these are nothing that hosts send. */
#define MAX_OPTIONS 4

struct frame {
	const struct __sk_buff *skb;
	const struct port *port;
	struct ethhdr ethernet;
};

#define LOAD(frame, offset, into) (load_bytes((frame)->skb, (offset), &(into), sizeof(into)) == 0)

INLINE int is_told(__u32 tenant, __u32 scope, enum kind kind, const __u8 *octets, int length)
{
	struct address_key key = { .tenant = tenant, .scope = scope, .kind = kind };
	copy(key.octets, octets, length);
	return map_lookup(&addresses, &key) != 0;
}

INLINE int is_tunnel_port(__u16 port)
{
	return is_told(0, 0, TUNNEL_PORT, (const __u8 *)&port, sizeof(port));
}

INLINE int is_in_prefix(const struct frame *frame, enum kind kind, const __u8 *octets, int length)
{
	struct prefix_key key = {
		.length = (12 + length) * 8,
		.of = { .tenant = TENANT, .scope = frame->skb->ifindex, .kind = kind },
	};
	copy(key.of.octets, octets, length);
	return map_lookup(&prefixes, &key) != 0;
}

INLINE struct mac_key key_of_mac(const struct frame *frame, const __u8 *mac)
{
	struct mac_key key = { .tenant = TENANT, .network = frame->port->network };
	copy(key.mac, mac, ETH_ALEN);
	return key;
}

INLINE int is_declared(const struct frame *frame, const __u8 *mac)
{
	struct mac_key key = key_of_mac(frame, mac);
	const __u32 *is = map_lookup(&macs, &key);
	return is != 0 && (*is & DECLARED);
}

INLINE int is_own_mac(const struct frame *frame, const __u8 *mac)
{
	const __u8 *own = frame->port->mac;
	__u8 differs = 0;
	for (int octet = 0; octet < ETH_ALEN; octet++)
		differs |= mac[octet] ^ own[octet];
	return !differs;
}

INLINE int may_have_mac(const struct frame *frame, const __u8 *mac)
{
	if (is_own_mac(frame, mac) || is_told(TENANT, frame->skb->ifindex, OWN_MAC, mac, ETH_ALEN))
		return 1;
	if (!(frame->port->flags & LEARNED) || (mac[0] & 1) || is_zero(mac, ETH_ALEN))
		return 0;
	return !is_declared(frame, mac);
}

INLINE int may_have_ip(const struct frame *frame, enum kind kind, const __u8 *ip, int length)
{
	if (is_told(TENANT, frame->skb->ifindex, kind, ip, length))
		return 1;
	if ((frame->port->flags & PREFIXES) && is_in_prefix(frame, kind, ip, length))
		return 1;
	if (!(frame->port->flags & LEARNED) || is_zero(ip, length))
		return 0;
	return !is_told(TENANT, frame->port->network, kind == OWN_IPV4 ? TAKEN_IPV4 : TAKEN_IPV6, ip, length);
}

INLINE int judge_arp(const struct frame *frame)
{
	struct arp arp;
	if (!LOAD(frame, ETH_HLEN, arp))
		return MALFORMED;
	if (arp.hardware_type != SWAPPED16(1) || arp.protocol_type != SWAPPED16(ETH_P_IP) ||
	    arp.hardware_length != ETH_ALEN || arp.protocol_length != 4)
		return MALFORMED;
	int is_request = arp.operation == SWAPPED16(1);
	if (!is_request && arp.operation != SWAPPED16(2))
		return MALFORMED;
	if (!may_have_mac(frame, arp.sender_mac))
		return ARP;
	/* RFC 5227 section 2.1.1: who tries out an address asks for it from none. */
	int is_probe = is_request && is_zero(arp.sender_ip, 4);
	return may_have_ip(frame, OWN_IPV4, is_probe ? arp.target_ip : arp.sender_ip, 4) ? PASS : ARP;
}

INLINE int judge_udp(const struct frame *frame, __u32 offset, __u16 server, __u16 client)
{
	struct udp udp;
	if (!LOAD(frame, offset, udp))
		return MALFORMED;
	if (udp.source == SWAPPED16(server) && udp.destination == SWAPPED16(client))
		return DHCP_SERVER;
	return is_tunnel_port(udp.destination) ? TUNNEL : PASS;
}

INLINE int judge_ipv4(const struct frame *frame)
{
	struct ipv4 ip;
	if (!LOAD(frame, ETH_HLEN, ip) || ip.version_and_length >> 4 != 4 || (ip.version_and_length & 15) < 5)
		return MALFORMED;
	__u32 offset = ETH_HLEN + (ip.version_and_length & 15) * 4;
	int is_first = (ip.fragment & SWAPPED16(0x1fff)) == 0;
	if (is_zero(ip.source, 4)) {
		/* RFC 2131 section 4.1: a DHCP client that has no address yet. */
		struct udp udp;
		if (ip.protocol != UDP || (ip.fragment & SWAPPED16(0x3fff)) || !LOAD(frame, offset, udp))
			return IP;
		return udp.source == SWAPPED16(68) && udp.destination == SWAPPED16(67) ? PASS : IP;
	}
	if (!may_have_ip(frame, OWN_IPV4, ip.source, 4))
		return IP;
	/* The first fragment has eight octets at least, and with them the ports: RFC 791 section 3.1. */
	if (!is_first)
		return PASS;
	if (ip.protocol == UDP)
		return judge_udp(frame, offset, 67, 68);
	if (ip.protocol == ICMP) {
		__u8 type;
		if (!LOAD(frame, offset, type))
			return MALFORMED;
		return type == ICMP_REDIRECT ? REDIRECT : PASS;
	}
	return PASS;
}

/* Of a neighbour solicitation or advertisement: the link-layer addresses that it tells. */
INLINE int are_options_own(const struct frame *frame, __u32 offset, __u32 end)
{
	for (int count = 0; count < MAX_OPTIONS; count++) {
		struct option option;
		if (offset >= end)
			return 1;
		if (!LOAD(frame, offset, option) || option.length == 0)
			return 0;
		if ((option.type == SOURCE_LINK_LAYER_ADDRESS || option.type == TARGET_LINK_LAYER_ADDRESS) &&
		    !may_have_mac(frame, option.mac))
			return 0;
		offset += option.length * 8;
	}
	return offset >= end;
}

INLINE int judge_icmpv6(const struct frame *frame, __u32 offset, __u32 end, const __u8 *source, int is_fragment)
{
	int has_source = !is_zero(source, 16);
	__u8 type;
	if (!LOAD(frame, offset, type))
		return MALFORMED;
	if (type == ADVERTISEMENT)
		return ROUTER_ADVERTISEMENT;
	if (type == REDIRECTION)
		return REDIRECT;
	if (type == NEIGHBOUR_SOLICITATION || type == NEIGHBOUR_ADVERTISEMENT) {
		struct neighbour_message message;
		/*
		 * RFC 6980: these are never in fragments. What lies behind the end of the packet as its header has it,
		 * receivers may read all the same: where the header says that there is nothing.
		 */
		if (is_fragment || offset + sizeof(message) > end || !LOAD(frame, offset, message))
			return MALFORMED;
		/* Who tries out an address asks for it from none: RFC 4862 section 5.4.2. */
		int claims = type == NEIGHBOUR_ADVERTISEMENT || !has_source;
		if (claims && !may_have_ip(frame, OWN_IPV6, message.target, 16))
			return NEIGHBOUR_DISCOVERY;
		return are_options_own(frame, offset + sizeof(message), end) ? PASS : NEIGHBOUR_DISCOVERY;
	}
	if (is_fragment && type == ROUTER_SOLICITATION)
		return MALFORMED;
	/* RFC 3590: listeners report from no address before they have one. RFC 4861 section 4.1: routers may be asked so. */
	if (has_source || type == MLD_REPORT || type == MLDV2_REPORT || type == ROUTER_SOLICITATION)
		return PASS;
	return IP;
}

INLINE int judge_ipv6(const struct frame *frame)
{
	struct ipv6 ip;
	if (!LOAD(frame, ETH_HLEN, ip) || (ip.version & SWAPPED16(0xf000)) != SWAPPED16(0x6000))
		return MALFORMED;
	int has_source = !is_zero(ip.source, 16);
	if (has_source && !may_have_ip(frame, OWN_IPV6, ip.source, 16))
		return IP;
	__u32 offset = ETH_HLEN + sizeof(ip);
	__u32 end = offset + SWAPPED16(ip.payload_length);
	__u8 next = ip.next_header;
	int is_fragment = 0;
	/* RFC 7112: the whole chain of headers is in the first fragment. What hides its end is dropped. */
	for (int count = 0; count < MAX_EXTENSIONS; count++) {
		__u8 extension[4];
		if (!is_extension(next))
			break;
		if (!LOAD(frame, offset, extension))
			return MALFORMED;
		if (next == FRAGMENT) {
			/* Of another than the first fragment nothing more is known, nor is anything made of it without the first. */
			if (extension[2] != 0 || (extension[3] & 0xf8) != 0)
				return has_source ? PASS : IP;
			is_fragment = 1;
			offset += 8;
		} else {
			offset += next == AUTHENTICATION ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
		}
		next = extension[0];
	}
	if (is_extension(next))
		return MALFORMED;
	if (next == ICMPV6)
		return judge_icmpv6(frame, offset, end, ip.source, is_fragment);
	if (!has_source)
		return IP;
	return next == UDP ? judge_udp(frame, offset, 547, 546) : PASS;
}

/* In 169.254.0.0/16. */
INLINE int is_link_local(const __u8 *ip, __u8 third, __u8 fourth)
{
	return ip[0] == 169 && ip[1] == 254 && ip[2] == third && ip[3] == fourth;
}

INLINE int is_heard_arp(const struct frame *frame, __u32 flags)
{
	struct arp arp;
	if (!LOAD(frame, ETH_HLEN, arp))
		return 0;
	return ((flags & ANSWERED) && is_link_local(arp.target_ip, 0, 1)) ||
	       ((flags & METADATA) && is_link_local(arp.target_ip, 169, 254));
}

/*
 * Whether it is for the node itself: DHCP of a client, a router solicitation, or ARP for 169.254.0.1, the server where the network has
 * no gateway (agent/dhcp/configuration.ts); or whatever is for 169.254.169.254, where metadata is. The agent's sockets at the port
 * have it before this program does, and nobody else is to have it.
 */
INLINE int is_heard(const struct frame *frame)
{
	__u32 flags = frame->port->flags;
	__u16 type = frame->ethernet.h_proto;
	struct udp udp;
	if (type == SWAPPED16(ETH_P_ARP))
		return is_heard_arp(frame, flags);
	if (type == SWAPPED16(ETH_P_IP)) {
		struct ipv4 ip;
		if (!LOAD(frame, ETH_HLEN, ip))
			return 0;
		if ((flags & METADATA) && is_link_local(ip.destination, 169, 254))
			return 1;
		if (!(flags & ANSWERED) || ip.protocol != UDP || (ip.fragment & SWAPPED16(0x1fff)))
			return 0;
		return LOAD(frame, ETH_HLEN + (ip.version_and_length & 15) * 4, udp) &&
		       udp.source == SWAPPED16(68) && udp.destination == SWAPPED16(67);
	}
	struct ipv6 ip;
	__u8 message;
	if (!(flags & ANSWERED) || type != SWAPPED16(ETH_P_IPV6) || !LOAD(frame, ETH_HLEN, ip))
		return 0;
	if (ip.next_header == ICMPV6)
		return LOAD(frame, ETH_HLEN + sizeof(ip), message) && message == ROUTER_SOLICITATION;
	return ip.next_header == UDP && LOAD(frame, ETH_HLEN + sizeof(ip), udp) && udp.source == SWAPPED16(546) &&
	       udp.destination == SWAPPED16(547);
}

/* 2^30 ns: 1.074 s. */
INLINE __u64 window_of_now(void)
{
	return now_in_nanoseconds() >> 30;
}

INLINE int is_storm(struct port_key key, __u32 limit, enum flooded to)
{
	__u64 window = window_of_now();
	struct storm *storm = map_lookup(&storms, &key);
	if (limit == 0 || storm == 0)
		return 0;
	/* Processors may count past each other; a few frames more or less are none. */
	if (storm->window != window) {
		storm->window = window;
		storm->frames[TO_GROUP] = 0;
		storm->frames[TO_NOBODY] = 0;
	}
	__u64 before = storm->frames[to];
	__sync_fetch_and_add(&storm->frames[to], 1);
	return before >= (__u64)limit + limit / 14;
}

/* Whether the bridge has an entry for the MAC, or may have one. */
INLINE int is_known(const struct frame *frame, const __u8 *mac)
{
	struct mac_key key = key_of_mac(frame, mac);
	if (map_lookup(&macs, &key) != 0)
		return 1;
	if (frame->port->flags & LEARNED) {
		const struct heard *heard = map_lookup(&stations, &key);
		if (heard != 0 && window_of_now() - heard->window <= frame->port->ageing)
			return 1;
	}
	struct mac_key all = { .tenant = TENANT, .network = frame->port->network, .is_whole = 1 };
	return map_lookup(&macs, &all) == 0;
}

INLINE int judge_destination(const struct frame *frame)
{
	const struct port *port = frame->port;
	struct port_key of_port = { TENANT, frame->skb->ifindex };
	struct port_key of_network = { TENANT, port->network | 0x80000000 };
	const __u8 *mac = frame->ethernet.h_dest;
	int is_group = mac[0] & 1;
	if (!is_group && (!(port->flags & COUNTED) || is_known(frame, mac)))
		return PASS;
	enum flooded to = is_group ? TO_GROUP : TO_NOBODY;
	if (!is_storm(of_port, port->port_limit, to) && !is_storm(of_network, port->network_limit, to))
		return PASS;
	return is_group ? STORM : UNKNOWN_UNICAST;
}

/* The bridge learns from the frame. */
INLINE void hear(const struct frame *frame)
{
	struct mac_key key = key_of_mac(frame, frame->ethernet.h_source);
	struct heard now = { window_of_now() };
	struct heard *before = map_lookup(&stations, &key);
	if (before == 0)
		map_update(&stations, &key, &now, BPF_ANY);
	else if (before->window != now.window)
		before->window = now.window;
}

INLINE int judge_source(const struct frame *frame)
{
	const struct __sk_buff *skb = frame->skb;
	__u16 type = frame->ethernet.h_proto;
	int is_tag = type == SWAPPED16(ETH_P_8021Q) || type == SWAPPED16(ETH_P_8021AD) || type == SWAPPED16(ETH_P_QINQ1);
	int is_tagged = skb->vlan_present || is_tag;
	__u16 vid = skb->vlan_tci & 0x0fff;
	if (is_tagged && !(frame->port->flags & TAGGED))
		return VLAN_TAG;
	if (frame->port->flags & TRUSTED)
		return !is_tagged && is_heard(frame) ? HEARD : PASS;
	if (!may_have_mac(frame, frame->ethernet.h_source))
		return MAC;
	if (!is_tagged && is_heard(frame))
		return HEARD;
	/* VID 0 is a priority alone: whoever gets the frame takes it for an untagged one. IEEE 802.1Q-2018 table 9-2. */
	if (is_tagged && (vid != 0 || is_tag))
		return vid == 0 ? VLAN_TAG : PASS;
	if (type == SWAPPED16(ETH_P_ARP))
		return judge_arp(frame);
	if (type == SWAPPED16(ETH_P_IP))
		return judge_ipv4(frame);
	if (type == SWAPPED16(ETH_P_IPV6))
		return judge_ipv6(frame);
	return PASS;
}

SECTION("classifier")
int guard(struct __sk_buff *skb)
{
	struct port_key key = { TENANT, skb->ifindex };
	struct frame frame = { .skb = skb, .port = map_lookup(&ports, &key) };
	if (frame.port == 0)
		return TC_ACT_SHOT;
	int reason = MALFORMED;
	if (LOAD(&frame, 0, frame.ethernet)) {
		reason = judge_source(&frame);
		if (reason == PASS)
			reason = judge_destination(&frame);
	}
	if (reason == PASS) {
		if ((frame.port->flags & TAUGHT) && !is_own_mac(&frame, frame.ethernet.h_source))
			hear(&frame);
		return TC_ACT_UNSPEC;
	}
	struct dropped *counters = map_lookup(&dropped, &key);
	if (counters != 0 && reason >= 0 && reason < REASONS)
		__sync_fetch_and_add(&counters->frames[reason], 1);
	return TC_ACT_SHOT;
}
