import { type Cidr, cidr } from "../base/cidr.ts";

/**
 * What endpoints do not reach with egress unless their network says otherwise: link-local addresses, which are not to be
 * forwarded (RFC 3927 §2.6.2), and where clouds hand out credentials and secrets to whom they take for the host.
 */
export const defaultEgressBlocked: readonly Cidr[] = [
  // Among them 169.254.169.254, the metadata of most clouds.
  "169.254.0.0/16",
  // Amazon's metadata over IPv6.
  "fd00:ec2::254/128",
  // Alibaba's metadata.
  "100.100.100.200/32",
  // Azure's WireServer.
  "168.63.129.16/32",
].map(cidr);
