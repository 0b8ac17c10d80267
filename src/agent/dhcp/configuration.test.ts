import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { networkSettings } from "../../testing/desired.ts";
import { configurationOf } from "./configuration.ts";
import { exampleConfiguration, exampleEndpoint, exampleNetwork, serverLinkLocal } from "./example.test.ts";

const [own4, own6] = exampleEndpoint.addresses;
assert.ok(own4 !== undefined && own6 !== undefined);

describe("what an endpoint is told", () => {
  it("comes in the name of the node's gateway", () => {
    const { ipv4, ipv6, serverMac, serverLinkLocal: linkLocal } = exampleConfiguration();
    assert.deepEqual([serverMac, linkLocal], ["02:57:00:00:00:64", serverLinkLocal]);
    assert.deepEqual([ipv4?.server, ipv4?.routers, ipv4?.routes], ["10.0.0.1", ["10.0.0.1"], []]);
    assert.equal(ipv6?.isRouted, true);
  });

  it("where a router of the tenant's is the gateway: that one, in the name of nobody's address", () => {
    const { ipv4, ipv6 } = exampleConfiguration(
      { gateways: [ip("10.0.0.254"), ip("fd00::fe")] },
      { ...exampleEndpoint, gateways: [] },
    );
    assert.deepEqual([ipv4?.server, ipv4?.routers, ipv6?.isRouted], ["169.254.0.1", ["10.0.0.254"], false]);
  });

  it("in a layer-3 network: the gateway of the block, and by it the other blocks", () => {
    const network = { mode: "l3", subnets: [cidr("10.0.0.0/16")] } as const;
    const addresses = [{ address: ip("10.0.0.2"), prefixLength: 26 }];
    const { ipv4, ipv6 } = exampleConfiguration(network, { ...exampleEndpoint, addresses });
    assert.equal(ipv4?.prefixLength, 26);
    assert.deepEqual(ipv4.routes, [
      { destination: "10.0.0.0/16", router: "10.0.0.1" },
      { destination: "0.0.0.0/0", router: "10.0.0.1" },
    ]);
    assert.equal(ipv6, undefined);
  });

  it("leaves out IPv6 where packets are too small for it", () => {
    assert.equal(exampleConfiguration({}, exampleEndpoint, networkSettings({ mtu: 1279 })).ipv6, undefined);
    assert.ok(exampleConfiguration({}, exampleEndpoint, networkSettings({ mtu: 1280 })).ipv6);
  });

  it("names it by its label, if that can be a host name, or by its id", () => {
    const named = (hostname: string) => exampleConfiguration({}, { ...exampleEndpoint, labels: { hostname } }).hostName;
    assert.deepEqual(["Web-2", "a.b", "-a", ""].map(named), ["web-2", ...Array(3).fill(exampleEndpoint.id)]);
    const { labels: _, ...without } = exampleEndpoint;
    assert.equal(exampleConfiguration({}, without).hostName, exampleEndpoint.id);
  });

  it("where there is metadata and no router: that its address is on the link", () => {
    const { dhcp } = exampleNetwork();
    assert.ok(dhcp);
    const withMetadata = { dhcp: { ...dhcp, metadata: true } };
    const { ipv4 } = exampleConfiguration(withMetadata, { ...exampleEndpoint, gateways: [] });
    assert.deepEqual(ipv4?.routes, [{ destination: "169.254.169.254/32", router: "0.0.0.0" }]);
    assert.deepEqual(exampleConfiguration(withMetadata).ipv4?.routes, []);
  });

  it("is nothing in a network without it", () => {
    const { dhcp: _, ...network } = exampleNetwork();
    assert.equal(configurationOf(network, networkSettings(), exampleEndpoint), undefined);
  });
});
