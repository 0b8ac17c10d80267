import { familyOf, type Ipv4Address, ip } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import { addressResolutionFilter } from "../../linux/index.ts";
import { listAddresses, listLinks } from "../../netlink/index.ts";
import { buildFrame, decodeFrame } from "../../wire/index.ts";
import type { Check, Subject } from "../subject.ts";

/** How long an answer is waited for; RFC 5227 §1.1 has one second in all for probes on links of any kind. Milliseconds. */
const patience = 500;

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
      const other = await whoHas(subject, index, link.mac, address as Ipv4Address);
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

async function whoHas(
  { host }: Subject,
  index: number,
  own: MacAddress,
  address: Ipv4Address,
): Promise<MacAddress | undefined> {
  const socket = host.openPacketSocket({ filter: addressResolutionFilter(), interfaceIndex: index });
  try {
    const { promise, resolve } = Promise.withResolvers<MacAddress | undefined>();
    socket.onReadable(() => {
      for (let received = socket.receive(); received !== undefined; received = socket.receive()) {
        const answer = answerIn(received.frame);
        if (answer?.ip === address && answer.mac !== own) resolve(answer.mac);
      }
    });
    socket.send(index, probeFor(own, address));
    const timer = setTimeout(() => resolve(undefined), patience);
    return await promise.finally(() => clearTimeout(timer));
  } finally {
    socket.close();
  }
}

function probeFor(own: MacAddress, address: Ipv4Address): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { destination: mac("ff:ff:ff:ff:ff:ff"), source: own, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "request",
        senderMac: own,
        senderIp: ip("0.0.0.0") as Ipv4Address,
        targetMac: mac("00:00:00:00:00:00"),
        targetIp: address,
      },
    },
  ]);
}

function answerIn(frame: Uint8Array): { readonly ip: Ipv4Address; readonly mac: MacAddress } | undefined {
  for (const layer of decodeFrame(frame).layers)
    if (layer.protocol === "arp" && layer.header.operation === "reply")
      return { ip: layer.header.senderIp, mac: layer.header.senderMac };
  return undefined;
}
