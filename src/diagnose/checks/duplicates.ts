import { familyOf, type Ipv4Address, ip } from "../../base/ip.ts";
import { listAddresses, listLinks } from "../../netlink/index.ts";
import type { Check } from "../subject.ts";
import { whoHas } from "./who-has.ts";

/** Of a host that has no address yet. */
const nobody = ip("0.0.0.0") as Ipv4Address;

/** Asks the link for each VTEP address as a host does before it takes one: nobody may answer. RFC 5227 §2.1. */
export const duplicateCheck: Check = {
  name: "whether other hosts have the VTEP addresses",
  async *run(subject) {
    const { socket, underlay } = subject;
    const links = new Map((await socket.dump(listLinks())).map((link) => [link.index, link]));
    for (const { address, index } of await socket.dump(listAddresses())) {
      const link = links.get(index);
      if (!underlay.vteps.includes(address) || familyOf(address) !== 4 || link === undefined) continue;
      if (link.loopback === true || link.mac === undefined || !link.up) continue;
      const sender = { index, mac: link.mac, ip: nobody };
      const other = await whoHas(subject.host, sender, address as Ipv4Address);
      if (other === undefined) continue;
      yield {
        code: "vtep-address-duplicate",
        object: { kind: "VTEP address", key: address },
        expected: `nobody else on ${link.name} answers for it`,
        found: `${other} does`,
        cure: `find the host with MAC ${other}, and take ${address} from it`,
      };
    }
  },
};
