import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import type { Pod } from "../../model/resources.ts";
import { parseConfiguration, parseWishes } from "./configuration.ts";
import { parseEnvironment } from "./environment.ts";
import { asCniError, CniError, errorText } from "./error.ts";
import { ownerOf, ownerText } from "./owner.ts";
import { parseRequest } from "./request.ts";
import { resultOf } from "./result.ts";

function code(value: number, told: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof CniError && error.code === value && told.test(error.message);
}

const variables = { CNI_CONTAINERID: "a", CNI_NETNS: "/run/netns/a", CNI_IFNAME: "eth0", CNI_PATH: "/opt/cni/bin" };
const text = (fields: object) =>
  JSON.stringify({ cniVersion: "1.1.0", name: "lab", type: "weft", network: "web", ...fields });

test("each command asks for what it needs, and for no more", () => {
  for (const [command, needed] of [
    ["ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]],
    ["CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]],
    ["DEL", ["CNI_CONTAINERID", "CNI_IFNAME"]],
    ["GC", ["CNI_PATH"]],
    ["STATUS", []],
  ] as const) {
    const told = needed.join(", ");
    if (needed.length > 0)
      assert.throws(() => parseEnvironment({ CNI_COMMAND: command }), code(4, new RegExp(`variables: ${told}$`)));
    const some = Object.fromEntries(
      Object.entries(variables).filter(([name]) => (needed as readonly string[]).includes(name)),
    );
    assert.equal(parseEnvironment({ CNI_COMMAND: command, ...some }).command, command);
  }
});

test("arguments are heeded, ignored if they may be, and refused otherwise", () => {
  const args = (of: string) => parseEnvironment({ ...variables, CNI_COMMAND: "ADD", CNI_ARGS: of }).args;
  assert.deepEqual(
    [...args("IP=10.0.0.1;MAC=x;WEFT_NETWORK=a=b")],
    [
      ["IP", "10.0.0.1"],
      ["MAC", "x"],
      ["WEFT_NETWORK", "a=b"],
    ],
  );
  assert.equal(args("K8S_POD_NAME=p;K8S_POD_NAMESPACE=n").size, 2);
  assert.equal(args("IgnoreUnknown=true;FOO=1").get("FOO"), "1");
  assert.throws(() => args("FOO=1;IgnoreUnknown=0"), code(4, /found "FOO"/));
  assert.equal(parseEnvironment({ ...variables, CNI_COMMAND: "DEL", CNI_ARGS: "nonsense" }).args.size, 0);
});

test("what is about one container precedes what is in the configuration of all", () => {
  const wishes = (fields: object, args: readonly (readonly [string, string])[] = []) =>
    parseWishes(parseConfiguration(text(fields)), new Map(args));
  const cni = { network: "cni", ips: ["10.0.0.2"], mac: "02:00:00:00:00:02" };
  const runtimeConfig = { ips: ["10.0.0.3/24"], mac: "02:00:00:00:00:03" };
  const args = [
    ["WEFT_NETWORK", "args"],
    ["IP", "10.0.0.1"],
    ["MAC", "02:00:00:00:00:01"],
  ] as const;
  const none = { labels: {}, published: [] };
  assert.deepEqual(wishes({}), { network: "web", ips: [], mac: "", ...none });
  assert.deepEqual(wishes({}, args), { network: "args", ips: ["10.0.0.1"], mac: "02:00:00:00:00:01", ...none });
  assert.deepEqual(wishes({ args: { cni } }, args), { ...cni, network: "args", ...none });
  assert.deepEqual(wishes({ args: { cni }, runtimeConfig }), {
    network: "cni",
    ips: ["10.0.0.3"],
    mac: runtimeConfig.mac,
    ...none,
  });
});

test("a pod's own interface is one for which no network is named; others are in networks that the pod may be in", () => {
  const pod: Pod = {
    ...{ name: "u1", node: "h1", title: "shop/web-0", networks: ["front", "back"], labels: { app: "web" } },
    ips: [ip("10.1.0.9")],
    mac: mac("02:00:00:00:00:09"),
  };
  const wishes = (fields: object) => {
    const { network, ips, mac, labels } = parseWishes(parseConfiguration(text(fields)), new Map(), pod);
    return [network, ips.join(), mac, labels];
  };
  const own = ["front", "10.1.0.9", "02:00:00:00:00:09", { app: "web" }];
  assert.deepEqual(wishes({ network: undefined }), own);
  assert.deepEqual(wishes({ network: undefined, runtimeConfig: { ips: ["10.1.0.8/24"] } }), [
    own[0],
    "10.1.0.8",
    ...own.slice(2),
  ]);
  assert.deepEqual(wishes({ network: "back" }), ["back", "", "", { app: "web" }]);
  assert.throws(
    () => wishes({ network: "web" }),
    code(7, /network: found "web"; allowed: front, back, which are those of pod shop\/web-0/),
  );
  assert.throws(
    () => parseWishes(parseConfiguration(text({ network: undefined })), new Map()),
    code(7, /network: found ""/),
  );
});

test("rates of the bandwidth capability are bits, and what a container receives is ingress", () => {
  const bandwidth = (of: object) =>
    parseWishes(parseConfiguration(text({ runtimeConfig: { bandwidth: of } })), new Map()).bandwidth;
  assert.deepEqual(bandwidth({ ingressRate: 8e6, ingressBurst: 8e5, egressRate: 1e6, egressBurst: 2 ** 31 - 1 }), {
    send: { limit: "1000kbit" },
    receive: { limit: "8000kbit", burst: 100_000 },
  });
  assert.equal(bandwidth({ ingressRate: 0, egressRate: 0 }), undefined);
});

test("IPAM is weft's where another plugin makes the interface, and another's where weft does", () => {
  const kind = (fields: object) => {
    const { isIpam, delegate } = parseConfiguration(text(fields));
    return [isIpam, delegate];
  };
  assert.deepEqual(kind({}), [false, undefined]);
  assert.deepEqual(kind({ ipam: { type: "weft" } }), [false, undefined]);
  assert.deepEqual(kind({ ipam: {} }), [false, undefined]);
  assert.deepEqual(kind({ ipam: { type: "host-local", subnet: "x" } }), [false, "host-local"]);
  assert.deepEqual(kind({ type: "bridge", bridge: "b", ipam: { type: "weft", network: "web" } }), [true, undefined]);
});

test("fields that weft does not have are refused by name and value", () => {
  const wishes = (fields: object) => parseWishes(parseConfiguration(text(fields)), new Map());
  assert.throws(() => wishes({ mtu: 1400 }), code(2, /mtu: 1400/));
  assert.throws(() => wishes({ ipam: { type: "weft", range: "x" } }), code(2, /ipam.range: "x"/));
  wishes({ "cni.dev/attachments": [], "example.com/x": 1, capabilities: { ips: true } });
});

test("a configuration of any JSON is read or refused by a code of the specification", () => {
  fc.assert(
    fc.property(
      fc.json(),
      fc.record({ cniVersion: fc.jsonValue(), name: fc.jsonValue(), ipam: fc.jsonValue() }),
      (any, fields) => {
        for (const each of [any, text(fields)])
          try {
            parseConfiguration(each);
          } catch (error) {
            assert.ok(error instanceof CniError && [1, 6, 7].includes(error.code), `${error}`);
          }
      },
    ),
  );
});

test("a request of any octets is read or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
      try {
        parseRequest(octets);
      } catch (error) {
        assert.ok(error instanceof CniError && error.code === 6);
      }
    }),
  );
});

test("a result stands behind what plugins before have made", () => {
  const own = {
    interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", mtu: 1450, sandbox: "/run/netns/a" }],
    ips: [{ address: "fd00::2/64", interface: 0 }],
    routes: [{ dst: "::/0", gw: "fd00::1", priority: 7 }],
    dns: { domain: "own" },
  };
  const before = {
    interfaces: [{ name: "tun0" }],
    ips: [],
    routes: [{ dst: "10.0.0.0/8" }],
    dns: { nameservers: [] },
    kept: 1,
  };
  assert.deepEqual(resultOf("0.4.0", own, before), {
    cniVersion: "0.4.0",
    interfaces: [{ name: "tun0" }, { name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/run/netns/a" }],
    ips: [{ version: "6", address: "fd00::2/64", interface: 1 }],
    routes: [{ dst: "10.0.0.0/8" }, { dst: "::/0", gw: "fd00::1" }],
    dns: { domain: "own" },
    kept: 1,
  });
  assert.deepEqual(resultOf("1.1.0", { ips: [{ address: "10.0.0.2/8" }], routes: [] }), {
    cniVersion: "1.1.0",
    ips: [{ address: "10.0.0.2/8" }],
    routes: [],
    dns: {},
  });
});

test("errors are told as the specification has it", () => {
  assert.equal(
    errorText(new CniError(7, "a", "b"), "1.0.0"),
    '{"cniVersion":"1.0.0","code":7,"msg":"a","details":"b"}\n',
  );
  assert.equal(asCniError(new Error("a bug")).code, 100);
});

test("what is kept of an owner is read again, and operators' attachments are nobody's", () => {
  const owner = { configuration: "lab", container: "a", interface: "eth0", boot: "b" };
  assert.deepEqual(ownerOf({ owner: ownerText(owner) }), owner);
  assert.equal(ownerOf({}), undefined);
});

test("ports of the host are what the capability says, as operators write them", () => {
  const published = (...portMappings: object[]) =>
    parseWishes(parseConfiguration(text({ runtimeConfig: { portMappings } })), new Map()).published;
  assert.deepEqual(
    published(
      { hostPort: 8080, containerPort: 80, protocol: "TCP" },
      { hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "192.0.2.1" },
      { hostPort: 443, containerPort: 8443, hostIP: "2001:db8::1" },
      { hostPort: 81, containerPort: 81, hostIP: "0.0.0.0" },
      { hostPort: 0, containerPort: 82 },
    ),
    ["8080:80/tcp", "192.0.2.1:53:53/udp", "[2001:db8::1]:443:8443/tcp", "81:81/tcp"],
  );
  assert.deepEqual(published(), []);
  assert.throws(() => published({ hostPort: 1, containerPort: 1, hostIP: "x" }), code(7, /portMappings: found "x"/));
  for (const each of [{ hostPort: 65_536, containerPort: 1 }, { hostPort: 80 }])
    assert.throws(() => published(each), code(7, /portMappings/));
});

test("what the runtime calls a container others in its network may call it, but for a pod of Kubernetes'", () => {
  const aliases = { lab: ["db", "a.b"], other: ["no"] };
  const fields = parseConfiguration(text({ name: "lab", runtimeConfig: { aliases } }));
  const args = new Map([["K8S_POD_NAME", "Web"]]);
  assert.deepEqual(parseWishes(fields, args).labels, { hostname: "web", "alias/db": "" });
  assert.deepEqual(parseWishes(parseConfiguration(text({})), new Map()).labels, {});
});
