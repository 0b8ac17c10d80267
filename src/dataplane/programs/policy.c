/*
 * The policy of an endpoint's port: an eBPF program at the port's clsact ingress, where each frame comes by that the endpoint
 * sends, after the guard, and at its egress, where each comes by that is sent to it. What policies forbid ends here, and is counted
 * by the rule that decides. A port that is not in `ports` passes nothing.
 *
 * A packet's flow is known, or it is judged: the address of the other end gives its class, the port's group and that class a list, and
 * the list the verdict for protocol and port. What a verdict lets pass is a flow from then on, in both directions. Identifiers are
 * hashes of what they stand for (tables.ts), so that none ever comes to mean something else.
 */
#include "packet.h"

extern const char egress_hook;
/* Put in by the loader: 1 where the endpoint's frames are judged that it sends, 0 where those are that it gets. */
#define IS_SENT ((__u32)(unsigned long)&egress_hook)

enum { INGRESS = 0, EGRESS = 1 };
enum { DENY = 0, ALLOW = 1 };

struct port {
	/* By direction. 0: nothing is said, and all passes. */
	__u64 groups[2];
	/* Flows that were judged under another one are judged again. */
	__u32 epoch;
	/* Of the addresses that are several endpoints' of the tenant: the VNI; else 0. */
	__u32 view;
};

/* IPv4 addresses are as in ::ffff:0:0/96. */
struct peer_key {
	/* Bits that count, from `view` on. */
	__u32 length;
	__u32 view;
	__u8 address[16];
};

struct list_key {
	__u64 group;
	__u64 class;
};
/* The class of whoever has none, and the list that holds for all classes that have none in a group. */
#define EVERYBODY 0ULL

struct verdict_key {
	/* Bits that count, from `list` on. */
	__u32 length;
	__u8 list[8];
	__u8 protocol;
	/* The destination port, or the type of an ICMP message in the second octet. */
	__u8 port[2];
	__u8 rest;
};

struct verdict {
	/* What decides, and of what is only logged the first; 0: none is. */
	__u64 rule;
	__u64 logged;
	__u32 verdict;
	__u32 rest;
};

struct flow_key {
	__u32 index;
	__u16 local_port, peer_port;
	__u8 local[16], peer[16];
	__u8 protocol;
	__u8 rest[3];
};

enum flow_state {
	/* The other end began it. */
	BY_PEER = 1,
	/* It was answered. */
	ANSWERED = 2,
	/* TCP: an end has closed it. */
	FIN_LOCAL = 4,
	FIN_PEER = 8,
	/* TCP: it was reset. */
	RESET = 16,
	/* A policy that came later forbids it. */
	FORBIDDEN = 32,
};

struct flow {
	__u32 epoch;
	/* Seconds since the machine started. */
	__u32 seen;
	__u32 state;
};

/* What a datagram's first fragment let pass. */
struct fragment_key {
	__u32 index;
	__u32 identification;
	__u8 source[16], destination[16];
	__u8 protocol;
	__u8 direction;
	__u8 rest[2];
};

struct counts {
	/* By direction. */
	__u64 frames[2];
};

struct map SECTION("maps") ports = {
	BPF_MAP_TYPE_HASH, sizeof(__u32), sizeof(struct port), 16384, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") peers = {
	BPF_MAP_TYPE_LPM_TRIE, sizeof(struct peer_key), sizeof(__u64), 1048576, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") lists = {
	BPF_MAP_TYPE_HASH, sizeof(struct list_key), sizeof(__u64), 65536, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") verdicts = {
	BPF_MAP_TYPE_LPM_TRIE, sizeof(struct verdict_key), sizeof(struct verdict), 1048576, BPF_F_NO_PREALLOC,
};
/* How often a rule decided, or was met that only logs. */
struct map SECTION("maps") rules = {
	BPF_MAP_TYPE_HASH, sizeof(__u64), sizeof(__u64), 65536, BPF_F_NO_PREALLOC,
};
/* Frames of a port that were dropped. */
struct map SECTION("maps") denied = {
	BPF_MAP_TYPE_HASH, sizeof(__u32), sizeof(struct counts), 16384, BPF_F_NO_PREALLOC,
};
struct map SECTION("maps") flows = {
	BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow_key), sizeof(struct flow), 65536, 0,
};
struct map SECTION("maps") fragments = {
	BPF_MAP_TYPE_LRU_HASH, sizeof(struct fragment_key), sizeof(__u32), 4096, 0,
};

/* RFC 9293 section 3.1. */
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
struct tcp {
	__u16 source, destination;
	__u32 sequence, acknowledged;
	__u8 offset, flags;
};

struct packet {
	/* What its flow is known by. */
	struct flow_key key;
	/* Judged by: the destination port, or the type of an ICMP message. */
	__u16 port;
	__u8 flags;
	/* Of an ICMP message that tells of an error: `key` is the flow that it is about. */
	__u8 is_error;
	__u8 has_ports;
	/* Of a datagram in several fragments. */
	__u8 is_fragment;
	__u8 is_first;
	__u32 identification;
};

/* What is not judged, and what is nothing that hosts send. */
enum reading { JUDGED, PASSES, UNREADABLE };

#define LOAD(skb, offset, into) (load_bytes((skb), (offset), &(into), sizeof(into)) == 0)

INLINE void put_ipv4(__u8 *to, const __u8 *address)
{
	for (int octet = 0; octet < 10; octet++)
		to[octet] = 0;
	to[10] = to[11] = 0xff;
	copy(to + 12, address, 4);
}

/* `source`, `destination`: of the packet. Its own end is the sender's where frames are judged that the endpoint sends. */
INLINE void put_ends(struct flow_key *key, const __u8 *source, const __u8 *destination, int is_ipv4, int is_sent)
{
	const __u8 *local = is_sent ? source : destination;
	const __u8 *peer = is_sent ? destination : source;
	if (is_ipv4) {
		put_ipv4(key->local, local);
		put_ipv4(key->peer, peer);
	} else {
		copy(key->local, local, 16);
		copy(key->peer, peer, 16);
	}
}

INLINE void put_ports(struct flow_key *key, __u16 source, __u16 destination, int is_sent)
{
	key->local_port = is_sent ? source : destination;
	key->peer_port = is_sent ? destination : source;
}

/* The packet that an ICMP message of an error is about went the other way. */
INLINE int read_error(const struct __sk_buff *skb, struct packet *packet, __u32 offset, int is_ipv4)
{
	__u16 ends[2];
	__u8 protocol;
	if (is_ipv4) {
		struct ipv4 ip;
		if (!LOAD(skb, offset, ip) || ip.version_and_length >> 4 != 4 || (ip.version_and_length & 15) < 5)
			return UNREADABLE;
		if (ip.fragment & SWAPPED16(0x1fff))
			return UNREADABLE;
		offset += (ip.version_and_length & 15) * 4;
		protocol = ip.protocol;
		put_ends(&packet->key, ip.source, ip.destination, 1, !IS_SENT);
	} else {
		struct ipv6 ip;
		if (!LOAD(skb, offset, ip) || (ip.version & SWAPPED16(0xf000)) != SWAPPED16(0x6000))
			return UNREADABLE;
		offset += sizeof(ip);
		protocol = ip.next_header;
		if (protocol == FRAGMENT) {
			__u8 extension[8];
			if (!LOAD(skb, offset, extension) || extension[2] != 0 || (extension[3] & 0xf8) != 0)
				return UNREADABLE;
			protocol = extension[0];
			offset += sizeof(extension);
		}
		put_ends(&packet->key, ip.source, ip.destination, 0, !IS_SENT);
	}
	packet->key.protocol = protocol;
	packet->key.local_port = packet->key.peer_port = 0;
	packet->is_error = 1;
	if (protocol == TCP || protocol == UDP || protocol == SCTP) {
		if (!LOAD(skb, offset, ends))
			return UNREADABLE;
		put_ports(&packet->key, ends[0], ends[1], !IS_SENT);
	} else if (protocol == ICMP || protocol == ICMPV6) {
		/* The identifier: RFC 792, RFC 4443 section 4.1. */
		if (!LOAD(skb, offset + 4, ends))
			return UNREADABLE;
		packet->key.local_port = packet->key.peer_port = ends[0];
	}
	return JUDGED;
}

INLINE int read_icmp(const struct __sk_buff *skb, struct packet *packet, __u32 offset, int is_ipv4)
{
	__u8 head[8];
	if (!LOAD(skb, offset, head))
		return UNREADABLE;
	__u8 type = head[0];
	packet->port = type;
	if (!is_ipv4) {
		/* What addresses are found by is the guard's; listeners' reports go with it. */
		if ((type >= ROUTER_SOLICITATION && type <= REDIRECTION) || (type >= MLD_QUERY && type <= MLD_DONE) ||
		    type == MLDV2_REPORT)
			return PASSES;
	}
	int is_error = is_ipv4 ? type == UNREACHABLE || type == TIME_EXCEEDED || type == PARAMETER_PROBLEM
			       : type >= 1 && type <= PARAMETER_PROBLEM6;
	if (is_error)
		return read_error(skb, packet, offset + 8, is_ipv4);
	int is_echo = is_ipv4 ? type == ECHO_REQUEST || type == ECHO_REPLY : type == ECHO_REQUEST6 || type == ECHO_REPLY6;
	if (is_echo) {
		__u16 identifier = (__u16)(head[4] | head[5] << 8);
		packet->key.local_port = packet->key.peer_port = identifier;
		/* A request begins a flow. A reply goes with one, or is judged by itself. */
		packet->flags = type == ECHO_REQUEST || type == ECHO_REQUEST6 ? SYN : 0;
		packet->has_ports = 1;
	}
	return JUDGED;
}

/* `end`: of the packet, as its header says. */
INLINE int read_payload(const struct __sk_buff *skb, struct packet *packet, __u32 offset, __u32 end, int is_ipv4)
{
	__u8 protocol = packet->key.protocol;
	if (protocol == (is_ipv4 ? ICMP : ICMPV6))
		return read_icmp(skb, packet, offset, is_ipv4);
	if (protocol == TCP) {
		struct tcp tcp;
		/* What lies behind the end is not what its receiver reads: RFC 1858. */
		if (offset + 20 > end || !LOAD(skb, offset, tcp))
			return UNREADABLE;
		put_ports(&packet->key, tcp.source, tcp.destination, IS_SENT);
		packet->port = SWAPPED16(tcp.destination);
		packet->flags = tcp.flags;
		packet->has_ports = 1;
	} else if (protocol == UDP || protocol == SCTP) {
		__u16 ends[2];
		if (offset + 8 > end || !LOAD(skb, offset, ends))
			return UNREADABLE;
		put_ports(&packet->key, ends[0], ends[1], IS_SENT);
		packet->port = SWAPPED16(ends[1]);
		packet->flags = SYN;
		packet->has_ports = 1;
	} else {
		packet->flags = SYN;
		packet->has_ports = 1;
	}
	return JUDGED;
}

INLINE int read_ipv4(const struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4 ip;
	if (!LOAD(skb, ETH_HLEN, ip) || ip.version_and_length >> 4 != 4 || (ip.version_and_length & 15) < 5)
		return UNREADABLE;
	__u32 offset = ETH_HLEN + (ip.version_and_length & 15) * 4;
	/* It says none where it is larger than it can say. */
	__u32 length = SWAPPED16(ip.total_length);
	__u32 end = length == 0 ? skb->len : ETH_HLEN + length;
	__u16 place = SWAPPED16(ip.fragment);
	packet->key.protocol = ip.protocol;
	packet->identification = ip.identification;
	packet->is_fragment = (place & 0x3fff) != 0;
	packet->is_first = (place & 0x1fff) == 0;
	put_ends(&packet->key, ip.source, ip.destination, 1, IS_SENT);
	if (packet->is_first)
		return read_payload(skb, packet, offset, end, 1);
	/* It would write over the flags of TCP's header: RFC 1858 section 3. */
	return ip.protocol == TCP && (place & 0x1fff) < 3 ? UNREADABLE : JUDGED;
}

INLINE int read_ipv6(const struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6 ip;
	if (!LOAD(skb, ETH_HLEN, ip) || (ip.version & SWAPPED16(0xf000)) != SWAPPED16(0x6000))
		return UNREADABLE;
	__u32 offset = ETH_HLEN + sizeof(ip);
	__u32 end = ip.payload_length == 0 ? skb->len : offset + SWAPPED16(ip.payload_length);
	__u8 next = ip.next_header;
	packet->is_first = 1;
	put_ends(&packet->key, ip.source, ip.destination, 0, IS_SENT);
	for (int count = 0; count < MAX_EXTENSIONS; count++) {
		__u8 extension[8];
		if (!is_extension(next))
			break;
		if (!LOAD(skb, offset, extension))
			return UNREADABLE;
		if (next == FRAGMENT) {
			__u32 identification = extension[4] | extension[5] << 8 | extension[6] << 16 | (__u32)extension[7] << 24;
			packet->identification = identification;
			packet->is_fragment = 1;
			packet->is_first = extension[2] == 0 && (extension[3] & 0xf8) == 0;
			/* RFC 7112: the first one has all headers, and others are looked up by it. */
			if (!packet->is_first)
				return JUDGED;
			offset += 8;
		} else {
			offset += next == AUTHENTICATION ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
		}
		next = extension[0];
	}
	if (is_extension(next))
		return UNREADABLE;
	packet->key.protocol = next;
	return read_payload(skb, packet, offset, end, 0);
}

INLINE __u64 class_of(const struct port *port, const __u8 *address)
{
	struct peer_key key = { .length = (4 + 16) * 8 };
	copy(key.address, address, 16);
	if (port->view != 0) {
		key.view = port->view;
		const __u64 *class = map_lookup(&peers, &key);
		if (class != 0)
			return *class;
		key.view = 0;
	}
	const __u64 *class = map_lookup(&peers, &key);
	return class == 0 ? EVERYBODY : *class;
}

INLINE void count_rule(__u64 rule)
{
	__u64 *count = map_lookup(&rules, &rule);
	if (count != 0)
		__sync_fetch_and_add(count, 1);
}

/* What the endpoint's policies say of `said`, a port or a type, between the packet's ends in a direction; of what they do not say it is denied. */
INLINE int judge(const struct port *port, __u32 direction, const struct packet *packet, __u32 said)
{
	__u64 group = port->groups[direction & 1];
	if (group == 0)
		return ALLOW;
	struct list_key key = { .group = group, .class = class_of(port, packet->key.peer) };
	const __u64 *list = map_lookup(&lists, &key);
	if (list == 0) {
		key.class = EVERYBODY;
		list = map_lookup(&lists, &key);
	}
	if (list == 0)
		return DENY;
	struct verdict_key asked = {
		.length = (8 + 1 + 2) * 8,
		.protocol = packet->key.protocol,
		.port = { (said >> 8) & 0xff, said & 0xff },
	};
	copy(asked.list, (const __u8 *)list, 8);
	const struct verdict *verdict = map_lookup(&verdicts, &asked);
	if (verdict == 0)
		return DENY;
	if (verdict->logged != 0)
		count_rule(verdict->logged);
	count_rule(verdict->rule);
	return verdict->verdict == ALLOW ? ALLOW : DENY;
}

/* Seconds that a flow is remembered without a packet; those of Linux's own connection tracking. */
INLINE __u32 lifetime(__u8 protocol, __u32 state)
{
	if (state & FORBIDDEN)
		return 3600;
	if (protocol == TCP) {
		if ((state & RESET) || ((state & FIN_LOCAL) && (state & FIN_PEER)))
			return 10;
		return state & ANSWERED ? 432000 : 120;
	}
	if (protocol == UDP)
		return state & ANSWERED ? 120 : 30;
	return protocol == ICMP || protocol == ICMPV6 ? 30 : 600;
}

INLINE __u32 seconds_now(void)
{
	/* 2^30 ns: 1.074 s. */
	return (__u32)(now_in_nanoseconds() >> 30);
}

/* Another processor may have seen it since `now` was read. */
INLINE __u32 age(__u32 now, __u32 seen)
{
	return (__s32)(now - seen) < 0 ? 0 : now - seen;
}

/* Ports from here on are those that Linux gives to who begins: net.ipv4.ip_local_port_range. */
#define FIRST_EPHEMERAL 32768

/*
 * Of a packet that begins nothing and whose flow is not known: the port came under policies while it was under way, or has moved here,
 * or the flow was forgotten. Who began it is the one with the ephemeral port; where that does not tell, both must be allowed to have.
 * `BY_PEER`, 0, or -1: it may not pass.
 */
INLINE int pick_up(const struct port *port, const struct packet *packet)
{
	__u16 local = SWAPPED16(packet->key.local_port), peer = SWAPPED16(packet->key.peer_port);
	int may_be_local = local >= FIRST_EPHEMERAL || peer < FIRST_EPHEMERAL;
	int may_be_peer = peer >= FIRST_EPHEMERAL || local < FIRST_EPHEMERAL;
	if (may_be_local == may_be_peer)
		may_be_local = may_be_peer = 1;
	if (may_be_local && judge(port, EGRESS, packet, peer) != ALLOW)
		return -1;
	if (may_be_peer && judge(port, INGRESS, packet, local) != ALLOW)
		return -1;
	return may_be_local ? 0 : BY_PEER;
}

/* What the judge is asked about a flow, by who began it. */
INLINE __u32 said_by(const struct flow_key *key, __u32 state)
{
	if (key->protocol == ICMP)
		return ECHO_REQUEST;
	if (key->protocol == ICMPV6)
		return ECHO_REQUEST6;
	return SWAPPED16(state & BY_PEER ? key->local_port : key->peer_port);
}

/* Whether a flow may go on: it is judged again, once, when policies have changed. */
INLINE int goes_on(const struct port *port, struct flow *flow, const struct packet *packet)
{
	if (flow->epoch != port->epoch) {
		__u32 direction = flow->state & BY_PEER ? INGRESS : EGRESS;
		int verdict = judge(port, direction, packet, said_by(&packet->key, flow->state));
		flow->state = verdict == ALLOW ? flow->state & ~FORBIDDEN : flow->state | FORBIDDEN;
		flow->epoch = port->epoch;
	}
	return !(flow->state & FORBIDDEN);
}

INLINE int judge_packet(const struct port *port, const struct packet *packet)
{
	__u32 direction = IS_SENT ? EGRESS : INGRESS;
	const struct flow_key *key = &packet->key;
	if (!packet->has_ports && !packet->is_error)
		return judge(port, direction, packet, packet->port);
	__u32 now = seconds_now();
	struct flow *flow = map_lookup(&flows, key);
	if (flow != 0 && age(now, flow->seen) > lifetime(key->protocol, flow->state))
		flow = 0;
	if (packet->is_error) {
		if (flow != 0 && goes_on(port, flow, packet))
			return ALLOW;
		/* By a rule for such messages. */
		struct packet message = *packet;
		message.key.protocol = is_zero(key->local, 10) && key->local[10] == 0xff ? ICMP : ICMPV6;
		return judge(port, direction, &message, packet->port);
	}
	int begins = (packet->flags & SYN) && !(packet->flags & ACK);
	int is_by_peer = !IS_SENT;
	if (flow != 0) {
		int is_beginner = !!(flow->state & BY_PEER) == is_by_peer;
		/* With TCP and echoes the other end begins a flow of its own by this. */
		int is_other = begins && !is_beginner && (key->protocol == TCP || key->protocol == ICMP || key->protocol == ICMPV6);
		/* An end that was closed or forbidden begins anew. */
		int is_anew = begins && key->protocol == TCP && (flow->state & (RESET | FIN_LOCAL | FIN_PEER | FORBIDDEN));
		if (!is_other && !is_anew) {
			if (!goes_on(port, flow, packet))
				return DENY;
			__u32 state = flow->state;
			if (!is_beginner)
				state |= ANSWERED;
			if (key->protocol == TCP) {
				if (packet->flags & FIN)
					state |= is_by_peer ? FIN_PEER : FIN_LOCAL;
				if (packet->flags & RST)
					state |= RESET;
			}
			/* Other processors look at it, too: it is written only where it changes. */
			if (state != flow->state)
				flow->state = state;
			if (flow->seen != now)
				flow->seen = now;
			return ALLOW;
		}
	}
	struct flow fresh = { .epoch = port->epoch, .seen = now };
	if (begins || key->protocol != TCP) {
		if (judge(port, direction, packet, packet->port) != ALLOW)
			return DENY;
		/* A reply to no request is let pass by itself. */
		if (!begins)
			return ALLOW;
		fresh.state = is_by_peer ? BY_PEER : 0;
	} else {
		int beginner = pick_up(port, packet);
		if (beginner < 0)
			return DENY;
		fresh.state = (__u32)beginner | ANSWERED;
	}
	map_update(&flows, key, &fresh, BPF_ANY);
	return ALLOW;
}

/* Of a fragment that is not the first: whether that one passed. Where nothing is said all pass, in whatever order they come. */
INLINE int judge_fragment(const struct port *port, const struct fragment_key *key)
{
	if (port->groups[key->direction & 1] == 0)
		return ALLOW;
	const __u32 *seen = map_lookup(&fragments, key);
	return seen != 0 && age(seconds_now(), *seen) <= 30 ? ALLOW : DENY;
}

INLINE void put_fragment_key(struct fragment_key *key, const struct packet *packet)
{
	key->index = packet->key.index;
	key->identification = packet->identification;
	copy(key->source, packet->key.local, 16);
	copy(key->destination, packet->key.peer, 16);
	/* Fragments of IPv6 do not all tell it. */
	key->protocol = packet->key.local[10] == 0xff && is_zero(packet->key.local, 10) ? packet->key.protocol : 0;
	key->direction = IS_SENT ? EGRESS : INGRESS;
}

INLINE int judge_ip(const struct __sk_buff *skb, const struct port *port, __u16 type)
{
	struct packet packet = { .key = { .index = skb->ifindex } };
	int reading = type == SWAPPED16(ETH_P_IP) ? read_ipv4(skb, &packet) : read_ipv6(skb, &packet);
	if (reading != JUDGED)
		return reading == PASSES ? ALLOW : DENY;
	if (!packet.is_fragment)
		return judge_packet(port, &packet);
	struct fragment_key key = {};
	put_fragment_key(&key, &packet);
	if (!packet.is_first)
		return judge_fragment(port, &key);
	if (judge_packet(port, &packet) != ALLOW)
		return DENY;
	__u32 now = seconds_now();
	map_update(&fragments, &key, &now, BPF_ANY);
	return ALLOW;
}

SECTION("classifier")
int policy(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	const struct port *port = map_lookup(&ports, &index);
	if (port == 0)
		return TC_ACT_SHOT;
	__u32 direction = IS_SENT ? EGRESS : INGRESS;
	struct ethhdr ethernet;
	int verdict = DENY;
	if (LOAD(skb, 0, ethernet)) {
		__u16 type = ethernet.h_proto;
		int is_tagged = skb->vlan_present;
		if (!is_tagged && type == SWAPPED16(ETH_P_ARP))
			return TC_ACT_UNSPEC;
		if (!is_tagged && (type == SWAPPED16(ETH_P_IP) || type == SWAPPED16(ETH_P_IPV6)))
			verdict = judge_ip(skb, port, type);
		else
			/* Of what has no address that is known, no policy says anything. */
			verdict = port->groups[direction & 1] == 0 ? ALLOW : DENY;
	}
	if (verdict == ALLOW)
		return TC_ACT_UNSPEC;
	struct counts *counts = map_lookup(&denied, &index);
	if (counts != 0)
		__sync_fetch_and_add(&counts->frames[direction & 1], 1);
	return TC_ACT_SHOT;
}
