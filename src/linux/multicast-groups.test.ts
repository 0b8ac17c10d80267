import assert from "node:assert/strict";
import { it } from "node:test";
import { parseIgmp, parseIgmp6 } from "./multicast-groups.ts";

it("reads the groups of IPv4", () => {
  const text = `Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V3
\t\t\t\t640000EF     1 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
`;
  assert.deepEqual(
    [...parseIgmp(text)],
    [
      { interfaceName: "lo", group: "224.0.0.1" },
      { interfaceName: "eth0", group: "239.0.0.100" },
      { interfaceName: "eth0", group: "224.0.0.1" },
    ],
  );
});

it("reads the groups of IPv6", () => {
  const text = `1    lo              ff020000000000000000000000000001     1 0000000C 0
2    eth0            ff050000000000000000000000000064     1 00000004 0
`;
  assert.deepEqual(
    [...parseIgmp6(text)],
    [
      { interfaceName: "lo", group: "ff02::1" },
      { interfaceName: "eth0", group: "ff05::64" },
    ],
  );
});

it("reads nothing of a kernel that has none", () => {
  assert.deepEqual([...parseIgmp(""), ...parseIgmp6("")], []);
});
