import assert from "node:assert/strict";
import { it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { unwrap } from "../../base/result.ts";
import { parseRate } from "../../model/bandwidth.ts";
import type { Endpoint } from "../../model/resources.ts";
import type { Attachment, AttachmentPlace } from "../replica.ts";
import { offerOf, requestOf } from "./offered-port.ts";

const endpoint: Endpoint = {
  id: "0123456789ab",
  network: "web",
  node: "h1",
  mac: mac("02:00:00:00:00:01"),
  ips: [ip("10.0.0.1")],
  attachment: "tap",
  sequence: 0,
};
const attached = (place: AttachmentPlace, more: Partial<Attachment> = {}): Attachment => ({
  id: endpoint.id,
  network: "web",
  place,
  state: "attached",
  allowedAddresses: [{ prefix: cidr("10.0.0.100/32") }],
  bandwidth: { send: { limit: unwrap(parseRate("10Mbit")) } },
  ...more,
});
const tap = attached({ kind: "device", device: "vm1", tap: { owner: 7, isMultiQueue: true } });
const netns = attached({ kind: "netns", netns: "/run/netns/c1", interface: "eth0", inode: 0, routePriority: 3 });

it("a tap is made on the other node as it is here, with its limits", () => {
  const offer = offerOf(tap);
  assert.ok(offer.ok);
  const request = requestOf(endpoint, { port: offer.value });
  assert.ok(request.ok);
  const { place, bandwidth, allowedAddresses, mac: own, ips } = request.value;
  assert.deepEqual(place, tap.place);
  assert.deepEqual(bandwidth, tap.bandwidth);
  assert.deepEqual(allowedAddresses, [{ prefix: "10.0.0.100/32", mac: "" }]);
  assert.deepEqual([own, ips], [endpoint.mac, endpoint.ips]);
});

it("into a namespace of another host it goes by an administrator's word alone, whatever the node says that has it", () => {
  const offer = offerOf(netns);
  assert.ok(offer.ok);
  const refused = requestOf(endpoint, { port: offer.value });
  assert.equal(refused.ok ? "" : refused.error.slice(0, 54), "it is attached by a namespace, and nobody said by whic");
  const place = { netns: "/run/netns/other", interface: "net1", device: "" };
  const request = requestOf(endpoint, { port: offer.value, place });
  assert.ok(request.ok);
  assert.deepEqual(request.value.place, {
    kind: "netns",
    netns: "/run/netns/other",
    interface: "net1",
    routePriority: 3,
  });
  const interfaceThere = requestOf(endpoint, {
    port: offer.value,
    place: { netns: "", interface: "", device: "vnet7" },
  });
  assert.deepEqual(interfaceThere.ok && interfaceThere.value.place, { kind: "device", device: "vnet7" });
});

it("what others attached, and what has no port, no other node attaches by itself", () => {
  for (const attachment of [
    undefined,
    { ...netns, owner: "cni x" },
    { ...tap, userData: Uint8Array.of(1) },
    attached({ kind: "external", interface: "eth0" }),
  ]) {
    const offer = offerOf(attachment);
    assert.equal(offer.ok, false);
  }
  assert.equal(requestOf(endpoint, {}).ok, false);
});
