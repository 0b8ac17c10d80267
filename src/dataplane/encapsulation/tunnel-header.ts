import { encapsulations, type TunnelEncapsulation } from "../../model/encapsulation.ts";
import type { Vni } from "../../model/index.ts";
import { type LayerDraft, nvgreHeader } from "../../wire/index.ts";

type Header<Name extends LayerDraft["protocol"]> = Extract<LayerDraft, { protocol: Name }>["header"];

/**
 * What a tunnel of a network puts between the outer IP header, or the UDP header where there is one, and what it carries: an Ethernet
 * frame or an IPv4 packet, as its record says.
 */
export function tunnelHeader(encapsulation: TunnelEncapsulation, vni: Vni): readonly LayerDraft[] {
  const protocolType = encapsulations[encapsulation].carriesEthernet ? "transparent-ethernet-bridging" : "ipv4";
  switch (encapsulation) {
    case "vxlan":
      return [{ protocol: "vxlan", header: { vni } }];
    case "geneve": {
      const header = { control: false, criticalOptions: false, protocolType, vni, options: [] } as Header<"geneve">;
      return [{ protocol: "geneve", header }];
    }
    case "nvgre":
      return [{ protocol: "gre", header: nvgreHeader({ vsid: vni, flowId: 0 }) }];
    case "gre":
      return [{ protocol: "gre", header: { protocolType, key: vni } }];
    case "ipip":
      return [];
  }
}
