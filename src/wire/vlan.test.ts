import { codecSuite } from "./codec-suite.test.ts";
import { vlan } from "./vlan.ts";

codecSuite(vlan, {
  examples: [
    {
      name: "VLAN 100 of priority 5, drop eligible",
      bytes: `
        b0 64  # priority 5 (101), drop eligible (1), VLAN 0x064
        86 dd  # EtherType`,
      value: { priority: 5, dropEligible: true, vlanId: 100, etherType: "ipv6" },
    },
    {
      name: "an outer tag, of the highest VLAN",
      bytes: "0f ff 81 00",
      value: { priority: 0, dropEligible: false, vlanId: 4095, etherType: "vlan" },
    },
  ],
  unfit: [
    {
      name: "VLAN 4096",
      value: { priority: 0, dropEligible: false, vlanId: 4096, etherType: "ipv4" },
      message: /^vlan\.vlanId is 4096, not a number of 12 bits$/,
    },
  ],
});
