import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type IpAddress, ip } from "../../base/ip.ts";
import type { Labels } from "../../model/policy/index.ts";
import { EndpointNames } from "./endpoint-names.ts";

const web = (id: string, ips: string[], labels?: Labels) => ({
  ...{ id, network: "web", ips: ips.map(ip) },
  ...(labels === undefined ? {} : { labels }),
});
const address = (text: string): IpAddress => ip(text);

describe("names of endpoints", () => {
  it("lead to the addresses of all that have them, in their network alone", () => {
    const names = new EndpointNames();
    names.put(web("a", ["10.0.0.1", "fd00::1"], { hostname: "one", "alias/all": "" }));
    names.put(web("b", ["10.0.0.2"], { hostname: "two", "alias/all": "" }));
    names.put({ ...web("c", ["10.0.0.1"], { hostname: "one" }), network: "other" });
    assert.deepEqual(names.addressesOf("web", "one"), ["10.0.0.1", "fd00::1"]);
    assert.deepEqual(names.addressesOf("web", "all"), ["10.0.0.1", "fd00::1", "10.0.0.2"]);
    assert.deepEqual(names.addressesOf("other", "one"), ["10.0.0.1"]);
    assert.equal(names.addressesOf("other", "two"), undefined);
    assert.equal(names.addressesOf("none", "one"), undefined);
    assert.equal(names.nameOf("web", address("fd00::1")), "one");
    assert.equal(names.nameOf("web", address("10.0.0.9")), undefined);
  });

  it("follow labels and addresses, and go with the endpoint and the network", () => {
    const names = new EndpointNames();
    names.put(web("a", ["10.0.0.1"], { hostname: "one" }));
    names.put(web("a", ["10.0.0.3"], { hostname: "three" }));
    assert.equal(names.addressesOf("web", "one"), undefined);
    assert.equal(names.nameOf("web", address("10.0.0.1")), undefined);
    assert.deepEqual(names.addressesOf("web", "three"), ["10.0.0.3"]);
    // The address has another before the word comes that the first is gone.
    names.put(web("b", ["10.0.0.3"], { hostname: "four" }));
    names.remove("web", "a");
    assert.equal(names.nameOf("web", address("10.0.0.3")), "four");
    names.put(web("b", ["10.0.0.3"]));
    assert.equal(names.addressesOf("web", "four"), undefined);
    names.put(web("b", ["10.0.0.3"], { hostname: "four" }));
    names.removeNetwork("web");
    assert.equal(names.addressesOf("web", "four"), undefined);
    names.remove("web", "b");
  });
});
