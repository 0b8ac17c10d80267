import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../base/ip.ts";
import { vtepObstacle } from "./vtep-address.ts";

describe("where a tunnel can end", () => {
  const table: readonly (readonly [address: string, reason: RegExp | undefined])[] = [
    ["192.0.2.1", undefined],
    ["10.0.0.1", undefined],
    ["100.64.0.1", undefined],
    ["126.255.255.255", undefined],
    ["128.0.0.1", undefined],
    ["169.253.0.1", undefined],
    ["223.255.255.254", undefined],
    ["2001:db8::1", undefined],
    ["fd00::1", undefined],
    ["0.1.2.3", /this network/],
    ["127.0.0.1", /^127\.0\.0\.1 is a loopback address/],
    ["127.8.9.10", /loopback/],
    ["169.254.1.1", /link-local/],
    ["224.0.0.1", /multicast/],
    ["240.0.0.1", /reserved/],
    ["255.255.255.255", /broadcast/],
    ["::", /unspecified/],
    ["::1", /loopback/],
    ["::c000:201", /IPv4-compatible/],
    ["::ffff:127.0.0.1", /IPv4-mapped/],
    ["::ffff:192.0.2.1", /IPv4-mapped/],
    ["fe80::1", /link-local/],
    ["febf::1", /link-local/],
    ["ff02::1", /multicast/],
  ];
  for (const [address, reason] of table)
    it(address, () => {
      const obstacle = vtepObstacle(ip(address));
      if (reason === undefined) assert.equal(obstacle, undefined);
      else assert.match(obstacle ?? "", reason);
    });
});
