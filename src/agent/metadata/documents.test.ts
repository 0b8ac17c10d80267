import assert from "node:assert/strict";
import { it } from "node:test";
import { parse } from "yaml";
import { mac } from "../../base/mac.ts";
import { exampleConfiguration } from "../dhcp/example.test.ts";
import { documentsOf } from "./documents.ts";

const configuration = exampleConfiguration();
const textOf = (name: string, of = configuration, userData?: Uint8Array): string =>
  new TextDecoder().decode(documentsOf(of, userData).get(name)?.());

it("an endpoint is told who it is", () => {
  assert.equal(textOf("meta-data"), 'instance-id: "0000000000a1"\nlocal-hostname: "web-1"\n');
});

it("its network card is the one with its MAC address, and asks by DHCP for the families that it has", () => {
  assert.equal(
    textOf("network-config"),
    `version: 2
ethernets:
  eth0:
    match:
      macaddress: "02:aa:00:00:00:01"
    set-name: "eth0"
    mtu: 1450
    dhcp4: true
    dhcp6: true
`,
  );
  const { ipv6: _, ...without } = configuration;
  assert.match(textOf("network-config", without), /dhcp4: true\n {4}dhcp6: false\n/);
});

it("what looks like a number is a text, to those who read YAML 1.1 as well", () => {
  const numeric = { ...configuration, id: "123456789012", hostName: "0", mac: mac("12:34:56:00:00:01") };
  for (const version of ["1.1", "1.2"] as const) {
    const options = { version };
    assert.deepEqual(parse(textOf("meta-data", numeric), options), {
      "instance-id": "123456789012",
      "local-hostname": "0",
    });
    const { ethernets } = parse(textOf("network-config", numeric), options);
    assert.equal(ethernets.eth0.match.macaddress, "12:34:56:00:00:01");
  }
});

it("user data is what was given, octet for octet; vendor data is nobody's", () => {
  const given = Uint8Array.of(0x1f, 0x8b, 0, 255, 10);
  assert.deepEqual(documentsOf(configuration, given).get("user-data")?.(), given);
  assert.deepEqual(documentsOf(configuration, undefined).get("user-data")?.(), new Uint8Array());
  assert.equal(textOf("vendor-data"), "");
});
