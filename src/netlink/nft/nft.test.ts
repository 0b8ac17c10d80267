/** Messages of nftables as bytes, and elements of sets as text, both ways. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { fromHex, toHex } from "../../base/bytes.ts";
import { FakeKernel, type FakeRequest } from "../../testing/fake-kernel.ts";
import type { Request } from "../request.ts";
import { NetlinkSocket } from "../socket.ts";
import { MessageWriter } from "../writer.ts";
import { addNftElements, deleteNftElements, readNftElements } from "./element.ts";
import { keyText, type NftField, nftField, packetAddress, packetNumber, parseKey } from "./key.ts";
import { addNftSet, isSameSet, listNftSets, type NftSet } from "./set.ts";
import { addNftTable, deleteNftTable, listNftTables } from "./table.ts";

const vni = packetNumber(96, 24);
const { ipv4_addr, ipv6_addr, ifname, inet_service, ether_addr } = nftField;

function set(name: string, key: readonly NftField[], changes: Partial<NftSet> = {}): NftSet {
  return { family: "inet", table: "t", name, key, ...changes };
}

function bytesOf(request: Request): string {
  const writer = new MessageWriter();
  request.write(writer);
  return toHex(writer.written());
}

/** Hexadecimal digits; what follows `--` is a comment. */
const annotated = (text: string): string => text.replace(/--.*$/gm, "").replace(/\s+/g, "");

describe("bytes", () => {
  for (const [what, request, type, flags, expected] of [
    [
      "a table",
      addNftTable("bridge", "t"),
      0x0a00,
      0x400,
      `07 00 0000        -- nfgenmsg: NFPROTO_BRIDGE
       0600 0100 7400 0000 -- NFTA_TABLE_NAME "t"`,
    ],
    ["a table to be deleted", deleteNftTable("inet", "t"), 0x0a02, 0, "01000000 0600 0100 74000000"],
    [
      "a set of prefixes",
      addNftSet(set("p", [ipv4_addr], { isInterval: true })),
      0x0a09,
      0x400,
      `01 00 0000
       0600 0100 7400 0000  -- NFTA_SET_TABLE
       0600 0200 7000 0000  -- NFTA_SET_NAME
       0800 0300 00000004   -- NFTA_SET_FLAGS: interval
       0800 0400 00000007   -- NFTA_SET_KEY_TYPE: IPv4 address
       0800 0500 00000004   -- NFTA_SET_KEY_LEN
       0800 0a00 00000001   -- NFTA_SET_ID
       0a00 0d00 0004 02000000 0000 -- NFTA_SET_USERDATA: network byte order`,
    ],
    [
      "a set of devices with prefixes",
      addNftSet(set("b", [ifname, ipv4_addr], { isInterval: true })),
      0x0a09,
      0x400,
      `01 00 0000
       0600 0100 7400 0000
       0600 0200 6200 0000
       0800 0300 00000084   -- interval, concatenation
       0800 0400 00000a47   -- 41 << 6 | 7
       0800 0500 00000014
       0800 0a00 00000001
       2000 0980            -- NFTA_SET_DESC
         1c00 0280          -- NFTA_SET_DESC_CONCAT
           0c00 0180 0800 0100 00000010 -- NFTA_LIST_ELEM: NFTA_SET_FIELD_LEN
           0c00 0180 0800 0100 00000004
       0a00 0d00 0004 00000000 0000`,
    ],
    [
      "a set of numbers in packets",
      addNftSet(set("v", [vni])),
      0x0a09,
      0x400,
      `01 00 0000
       0600 0100 7400 0000
       0600 0200 7600 0000
       0800 0300 00000000
       0800 0400 00000004   -- integer
       0800 0500 00000003
       0800 0a00 00000001
       3200 0d00            -- NFTA_SET_USERDATA, as nft 1.0.6 writes it of typeof @th,96,24
         0004 02000000 0326 0004 07000000 011e
         0004 00000000 0104 00000000 0204 03000000 0304 60000000 0404 18000000 0000`,
    ],
    [
      "a pair",
      addNftElements(set("m", [vni, ipv4_addr]), ["4242 . 10.99.0.2"]),
      0x0a0c,
      0x400,
      `01 00 0000
       0600 0100 7400 0000  -- NFTA_SET_ELEM_LIST_TABLE
       0600 0200 6d00 0000  -- NFTA_SET_ELEM_LIST_SET
       1800 0380            -- NFTA_SET_ELEM_LIST_ELEMENTS
         1400 0180          -- NFTA_LIST_ELEM
           1000 0180        -- NFTA_SET_ELEM_KEY
             0c00 0100 001092 00 0a630002 -- NFTA_DATA_VALUE: each field at a multiple of four octets`,
    ],
    [
      "a prefix: where it begins, and where it has ended",
      deleteNftElements(set("p", [ipv4_addr], { isInterval: true }), ["10.0.0.0/24"]),
      0x0a0e,
      0,
      `01 00 0000
       0600 0100 7400 0000
       0600 0200 7000 0000
       2c00 0380
         1000 0180 0c00 0180 0800 0100 0a000000
         1800 0180 0c00 0180 0800 0100 0a000100 0800 0300 00000001 -- NFT_SET_ELEM_INTERVAL_END`,
    ],
    [
      "a prefix among other fields: one element with two ends",
      addNftElements(set("b", [inet_service, ipv4_addr], { isInterval: true }), ["80 . 10.0.0.0/24"]),
      0x0a0c,
      0x400,
      `01 00 0000
       0600 0100 7400 0000
       0600 0200 6200 0000
       2800 0380
         2400 0180
           1000 0180 0c00 0100 00500000 0a000000
           1000 0a80 0c00 0100 00500000 0a0000ff -- NFTA_SET_ELEM_KEY_END`,
    ],
    [
      "an entry of a map",
      addNftElements(set("m", [inet_service], { data: [ipv4_addr] }), ["80 : 10.0.0.1"]),
      0x0a0c,
      0x400,
      `01 00 0000
       0600 0100 7400 0000
       0600 0200 6d00 0000
       2000 0380
         1c00 0180
           0c00 0180 0600 0100 00500000
           0c00 0280 0800 0100 0a000001 -- NFTA_SET_ELEM_DATA`,
    ],
  ] as const)
    test(what, () => {
      assert.equal(bytesOf(request), annotated(expected));
      assert.deepEqual([request.type, request.flags], [type, flags]);
    });
});

describe("text", () => {
  for (const [fields, text, first, last] of [
    [[ipv4_addr], "10.0.0.0/8", "0a000000", "0affffff"],
    [[ipv6_addr], "fd00::/9", "fd000000000000000000000000000000", "fd7fffffffffffffffffffffffffffff"],
    [[ether_addr], "02:00:00:00:00:01", "020000000001", "020000000001"],
    [[ifname], "gr1-*", `6772312d${"00".repeat(12)}`, `6772312d${"ff".repeat(12)}`],
    [[inet_service], "4789", "12b5", "12b5"],
    [
      [packetAddress(256, "ipv6_addr")],
      "fd00::1",
      "fd000000000000000000000000000001",
      "fd000000000000000000000000000001",
    ],
    [[ipv4_addr], "0x0a000001-0x0a000003", "0a000001", "0a000003"],
    [[ifname, ipv4_addr], "br1 . 10.0.0.0/31", `627231${"00".repeat(13)}0a000000`, `627231${"00".repeat(13)}0a000001`],
  ] as const)
    test(text, () => {
      const range = parseKey(fields, text, true);
      assert.deepEqual([toHex(range.first), toHex(range.last)], [first, last]);
      assert.equal(keyText(fields, range), text);
    });

  test("a star is part of a name where there are no intervals", () => {
    const range = parseKey([ifname], "gr*", false);
    assert.equal(keyText([ifname], range), "gr*");
    assert.equal(toHex(range.first), toHex(range.last));
  });

  test("what does not fit is refused", () => {
    assert.throws(() => parseKey([inet_service], "70000", false), /does not have 2 octets/);
    assert.throws(() => parseKey([inet_service], "name", false), /does not have 2 octets/);
    assert.throws(() => parseKey([ifname], "a-name-of-sixteen", false), /at most 15 octets/);
    assert.throws(() => parseKey([inet_service, ipv4_addr], "80", false), /does not have 2 fields/);
  });

  test("any octets are read", () => {
    const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    for (const field of [...Object.values(nftField), vni])
      fc.assert(
        fc.property(octets(field.octets), octets(field.octets), (first, last) => {
          const text = keyText([field], { first, last });
          assert.equal(typeof text, "string");
          const read = text.startsWith("0x") ? parseKey([field], text, true) : undefined;
          if (read !== undefined) assert.deepEqual([toHex(read.first), toHex(read.last)], [toHex(first), toHex(last)]);
        }),
      );
  });
});

/** A kernel that lists what was added last. */
function kernelOf(answers: (request: FakeRequest) => string | undefined) {
  const kernel = new FakeKernel({
    handlers: [
      (request) => {
        const payload = answers(request);
        if (payload === undefined) return {};
        const bytes = fromHex(annotated(payload)) ?? new Uint8Array();
        const write = (writer: MessageWriter): void => writer.bytes.set(bytes, writer.reserve(bytes.length));
        return { messages: [{ type: request.type - 1, write }] };
      },
    ],
  });
  return new NetlinkSocket({ channel: kernel });
}

describe("listings", () => {
  test("tables, and sets with how they are made", async () => {
    const socket = kernelOf(({ type }) =>
      type === 0x0a01
        ? "01000000 0600 0100 74000000"
        : "01000000 0600 0200 70000000 0800 0300 00000004 0800 0400 00000007 0800 0500 00000004",
    );
    assert.deepEqual(await socket.dump(listNftTables("inet")), ["t"]);
    const [[name, layout] = ["", {}]] = await socket.dump(listNftSets("inet", "t"));
    assert.equal(name, "p");
    assert.ok(isSameSet(set("p", [ipv4_addr], { isInterval: true }), layout));
    for (const other of [
      set("p", [ipv4_addr]),
      set("p", [ipv6_addr], { isInterval: true }),
      set("p", [ipv4_addr], { isInterval: true, data: [ipv4_addr] }),
    ])
      assert.equal(isSameSet(other, layout), false);
  });

  test("intervals: ends in any order, one that another begins at, one without an end, and what nft begins with", async () => {
    const part = (address: string, isEnd: boolean): string =>
      isEnd
        ? `1800 0180 0c00 0180 0800 0100 ${address} 0800 0300 00000001`
        : `1000 0180 0c00 0180 0800 0100 ${address}`;
    const parts = [
      part("ff000000", false),
      part("0a000200", true),
      part("0a000100", false),
      part("0a000100", true),
      part("0a000000", false),
      part("00000000", true),
    ].join("");
    const length = (16 * 3 + 24 * 3 + 4).toString(16).padStart(2, "0");
    const socket = kernelOf(() => `01000000 ${length}00 0380 ${parts}`);
    assert.deepEqual(await readNftElements(socket, set("p", [ipv4_addr], { isInterval: true })), [
      "10.0.0.0/24",
      "10.0.1.0/24",
      "255.0.0.0/8",
    ]);
  });
});

describe("transactions", () => {
  const requests = [addNftTable("inet", "a"), addNftTable("inet", "b"), addNftTable("inet", "c")];
  const setUp = () => {
    const kernel = new FakeKernel();
    return { kernel, socket: new NetlinkSocket({ channel: kernel }) };
  };

  test("are one send, from their beginning to their end", async () => {
    const { kernel, socket } = setUp();
    assert.deepEqual(await socket.transaction(requests), { done: 3, failures: [] });
    assert.deepEqual(
      kernel.requests.map(({ type }) => type),
      [16, 0x0a00, 0x0a00, 0x0a00, 17],
    );
    assert.deepEqual(
      [kernel.requests[0], kernel.requests[4]].map((edge) => toHex(edge?.payload ?? new Uint8Array())),
      ["0000000a", "0000000a"],
    );
    assert.equal(kernel.sends, 1);
    assert.deepEqual(await socket.transaction([]), { done: 0, failures: [] });
    assert.equal(kernel.sends, 1);
  });

  for (const [what, after, attempted] of [
    ["one of its requests", 2, "add nft table inet b"],
    ["its last request", 3, "add nft table inet c"],
    ["the whole", 0, "add nft table inet a and 2 more"],
  ] as const)
    test(`do nothing if ${what} is refused`, async () => {
      const { kernel, socket } = setUp();
      kernel.inject({ kind: "error", errno: 17 }, { after });
      const { done, failures } = await socket.transaction(requests);
      assert.deepEqual(
        [done, socket.writes, failures.map(({ error }) => error.message)],
        [0, 0, [`${attempted}: EEXIST: it exists already`]],
      );
      assert.deepEqual(await socket.transaction(requests), { done: 3, failures: [] });
    });

  test("that cannot be written are not sent", async () => {
    const { kernel, socket } = setUp();
    const unwritable = addNftElements(set("s", [inet_service]), ["70000"]);
    const { failures } = await socket.transaction([...requests, unwritable]);
    assert.match(failures[0]?.error.message ?? "", /^add element 70000 of nft set s .* cannot be written/);
    assert.equal(kernel.sends, 0);
    assert.equal(socket.writes, 0);
  });

  test("reject if the answer is lost", async () => {
    const { kernel, socket } = setUp();
    kernel.inject({ kind: "lost" }, { after: 3 });
    await assert.rejects(socket.transaction(requests), /answers of the kernel were lost/);
    assert.deepEqual(await socket.transaction(requests), { done: 3, failures: [] });
  });
});
