/**
 * The differentiated services codepoint (RFC 2474) of outer packets: a number from 0 to 63, or that of the packet inside. Congestion
 * marks go from one to the other either way (RFC 6040).
 */
export type Dscp = number | "inherit";

export const largestDscp = 63;
export const dscpAllowed = `a codepoint, 0 to ${largestDscp}, or inherit for that of the packet inside`;
