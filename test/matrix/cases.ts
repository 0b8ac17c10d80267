/** What the matrix tries: each way that a network can be carried, over each underlay, for each pair of inner versions. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { NetworkSchema } from "../../src/api/generated/weft/v1/resources_pb.js";
import type { IpFamily } from "../../src/base/ip.ts";
import { hostAddresses } from "../../src/lab/underlay.ts";
import { type Encapsulation, encapsulations, type NetworkMode } from "../../src/model/encapsulation.ts";
import type { Discovery, UnderlayFamily } from "../../src/model/index.ts";

export type Overlay = "ipv4" | "ipv6" | "dual";

/** What is fixed for a row of cases. */
export interface Row {
  readonly encapsulation: Encapsulation;
  readonly mode: NetworkMode;
  readonly discovery: Discovery;
  /** UDP port; 0: none. */
  readonly port: number;
  readonly crossSubnet: boolean;
}

export interface MatrixCase extends Row {
  /** All of the above in a few words; unique. */
  readonly name: string;
  readonly underlay: UnderlayFamily;
  readonly overlay: Overlay;
  readonly vni: number;
  /** What the server says to it, if it is right to refuse. */
  readonly refusal?: RegExp;
}

const rows: readonly Row[] = [
  row("vxlan", "l2", "control-plane"),
  { ...row("vxlan", "l2", "control-plane"), port: 8472 },
  row("vxlan", "l2", "multicast"),
  row("vxlan", "l2", "static"),
  row("vxlan", "l3"),
  { ...row("vxlan", "l3"), crossSubnet: true },
  row("geneve", "l2", "control-plane"),
  row("geneve", "l2", "static"),
  row("geneve", "l3"),
  row("nvgre", "l2", "control-plane"),
  row("nvgre", "l2", "static"),
  row("gre", "l3"),
  row("ipip", "l3"),
  row("direct", "l3"),
];

function row(encapsulation: Encapsulation, mode: NetworkMode, discovery: Discovery = "control-plane"): Row {
  return { encapsulation, mode, discovery, port: encapsulations[encapsulation].port, crossSubnet: false };
}

/** The first that nvgre may use, less one: RFC 7637 §3. */
const vniBase = 0xfff;

export const matrixCases: readonly MatrixCase[] = rows
  .flatMap((each) => (["ipv4", "ipv6"] as const).map((underlay) => ({ ...each, underlay })))
  .flatMap((each) => (["ipv4", "ipv6", "dual"] as const).map((overlay) => ({ ...each, overlay })))
  .map((each, index) => ({ ...each, name: nameOf(each), vni: vniBase + 1 + index, ...refusalOf(each) }));

/** Those that have all these words in their name: `gre`, `static`, `dual-over-ipv6`. */
export function casesWith(words: readonly string[]): readonly MatrixCase[] {
  return matrixCases.filter(({ name }) => words.every((word) => isWordOf(name, word)));
}

function isWordOf(name: string, word: string): boolean {
  return name.split(word).some((part, index, parts) => {
    const next = parts[index + 1];
    return next !== undefined && !/[a-z0-9]$/.test(part) && !/^[a-z0-9]/.test(next);
  });
}

function nameOf(each: Row & Pick<MatrixCase, "underlay" | "overlay">): string {
  const { encapsulation, mode, discovery, underlay, overlay } = each;
  return [encapsulation, mode, ...extrasOf(each), discovery, `${overlay}-over-${underlay}`].join(" ");
}

/** What is unusual about the row. */
export function extrasOf({ encapsulation, port, crossSubnet }: Row): string[] {
  const portText = port === encapsulations[encapsulation].port ? [] : [`port ${port}`];
  return crossSubnet ? [...portText, "crossSubnet"] : portText;
}

function refusalOf(each: Row & Pick<MatrixCase, "underlay" | "overlay">): Pick<MatrixCase, "refusal"> {
  const isWithoutTunnel = each.encapsulation === "direct" || each.crossSubnet;
  return isWithoutTunnel && each.underlay === "ipv4" && each.overlay !== "ipv4"
    ? { refusal: /Linux routes IPv6 to no IPv4 next hop/ }
    : {};
}

/** Inner versions of the case. */
export function familiesOf({ overlay }: MatrixCase): readonly IpFamily[] {
  return overlay === "dual" ? [4, 6] : [overlay === "ipv4" ? 4 : 6];
}

/** The VTEP address of a host of the lab, h1 being number 1. */
export function vtepOf({ underlay }: MatrixCase, host: number): string {
  return hostAddresses(host)[underlay];
}

/** Whether packets between hosts that share a link travel without a tunnel. */
export function isDirect({ encapsulation, crossSubnet }: MatrixCase): boolean {
  return encapsulation === "direct" || crossSubnet;
}

/** The network of a case, as an administrator declares it. `hosts`: how many host it. */
export function networkOf(each: MatrixCase, tenant: string, hosts: number): MessageInitShape<typeof NetworkSchema> {
  const subnets = { 4: each.mode === "l2" ? "10.60.0.0/24" : "10.60.0.0/16", 6: "fd60::/64" };
  const vteps = Array.from({ length: hosts }, (_, index) => vtepOf(each, index + 1));
  return {
    name: "net",
    tenant,
    mode: each.mode,
    encapsulation: each.encapsulation,
    vni: each.vni,
    port: each.port,
    underlay: each.underlay,
    discovery: each.discovery,
    crossSubnet: each.crossSubnet,
    subnets: familiesOf(each).map((family) => subnets[family]),
    vteps: each.discovery === "static" ? vteps : [],
  };
}
