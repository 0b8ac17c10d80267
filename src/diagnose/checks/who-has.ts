import type { Ipv4Address } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { addressResolutionFilter } from "../../linux/index.ts";
import { buildFrame, decodeFrame } from "../../wire/index.ts";

/** How long an answer is waited for; RFC 5227 §1.1 has one second in all for probes on links of any kind. Milliseconds. */
const patience = 500;

/** By which interface is asked, and in whose name. */
export interface ArpSender {
  readonly index: number;
  readonly mac: MacAddress;
  readonly ip: Ipv4Address;
}

/** Another host on the link that answers ARP for an address; `undefined`: none does. */
export async function whoHas(
  host: KernelNamespace,
  sender: ArpSender,
  address: Ipv4Address,
): Promise<MacAddress | undefined> {
  const { index, mac: own } = sender;
  const socket = host.openPacketSocket({ filter: addressResolutionFilter(), interfaceIndex: index });
  try {
    const { promise, resolve } = Promise.withResolvers<MacAddress | undefined>();
    socket.onReadable(() => {
      for (let received = socket.receive(); received !== undefined; received = socket.receive()) {
        const answer = answerIn(received.frame);
        if (answer?.ip === address && answer.mac !== own) resolve(answer.mac);
      }
    });
    socket.send(index, requestFor(sender, address));
    const timer = setTimeout(() => resolve(undefined), patience);
    return await promise.finally(() => clearTimeout(timer));
  } finally {
    socket.close();
  }
}

function requestFor({ mac: own, ip: senderIp }: ArpSender, address: Ipv4Address): Uint8Array {
  return buildFrame([
    { protocol: "ethernet", header: { destination: mac("ff:ff:ff:ff:ff:ff"), source: own, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "request",
        senderMac: own,
        senderIp,
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
