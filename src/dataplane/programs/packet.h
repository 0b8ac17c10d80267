/*
 * What the programs at endpoint ports share: the kernel's functions and maps as they are called here, and the headers of packets.
 *
 * The kernel's verifier wants bounded loops and checked loads; nothing here allocates or waits.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define SWAPPED16(value) ((__u16)__builtin_bswap16(value))

/* linux/bpf.h: `enum bpf_func_id`. */
static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to,
			  __u32 length) = (void *)BPF_FUNC_skb_load_bytes;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static __u64 (*now_in_nanoseconds)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*redirect)(__u32 index, __u64 flags) = (void *)BPF_FUNC_redirect;

/* How the loader (linux/bpf-object.ts) reads a map's layout. */
struct map {
	__u32 type, key_size, value_size, max_entries, flags;
};

struct ipv4 {
	__u8 version_and_length, service;
	__u16 total_length, identification, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__u8 source[4], destination[4];
};

struct ipv6 {
	__u32 version;
	__u16 payload_length;
	__u8 next_header, hop_limit;
	__u8 source[16], destination[16];
};

/* IANA protocol numbers. */
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60, MOBILITY = 135 };
/* RFC 792, RFC 4443, RFC 4861, RFC 3810. */
enum { ECHO_REPLY = 0, UNREACHABLE = 3, SOURCE_QUENCH = 4, ICMP_REDIRECT = 5, ECHO_REQUEST = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };
enum { PARAMETER_PROBLEM6 = 4, ECHO_REQUEST6 = 128, ECHO_REPLY6 = 129, MLD_QUERY = 130, MLD_DONE = 132 };
enum { MLD_REPORT = 131, ROUTER_SOLICITATION = 133, ADVERTISEMENT = 134, NEIGHBOUR_SOLICITATION = 135,
       NEIGHBOUR_ADVERTISEMENT = 136, REDIRECTION = 137, MLDV2_REPORT = 143 };
/* Chains of headers that are longer are nothing that hosts send. */
#define MAX_EXTENSIONS 8

INLINE void copy(__u8 *to, const __u8 *from, int length)
{
	for (int octet = 0; octet < length; octet++)
		to[octet] = from[octet];
}

INLINE int is_zero(const __u8 *octets, int length)
{
	__u8 any = 0;
	for (int octet = 0; octet < length; octet++)
		any |= octets[octet];
	return any == 0;
}

INLINE int is_extension(__u8 header)
{
	return header == HOP_BY_HOP || header == ROUTING || header == FRAGMENT || header == AUTHENTICATION ||
	       header == DESTINATION || header == MOBILITY;
}
