/*
 * At the ingress of the tunnels of one network: frames to endpoints that left this node go on to where these are now, until all other
 * nodes send there by themselves. The bridge would not let them: what comes in by one tunnel leaves by none.
 */
#include "packet.h"

struct forwarded_key {
	__u8 mac[ETH_ALEN];
	__u16 unused;
};

/* The index of the tunnel that leads to the endpoint. */
struct map SECTION("maps") forwarded = {
	BPF_MAP_TYPE_HASH, sizeof(struct forwarded_key), sizeof(__u32), 65536, BPF_F_NO_PREALLOC,
};

SECTION("classifier")
int forward(struct __sk_buff *skb)
{
	struct forwarded_key key = {};
	if (load_bytes(skb, 0, key.mac, ETH_ALEN) != 0)
		return TC_ACT_UNSPEC;
	const __u32 *tunnel = map_lookup(&forwarded, &key);
	return tunnel == 0 ? TC_ACT_UNSPEC : redirect(*tunnel, 0);
}
