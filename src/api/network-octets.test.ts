import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { WeftError } from "../base/errors.ts";
import type { Result } from "../base/result.ts";
import type { Network } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { checked } from "./codec.ts";
import { NetworkSchema } from "./generated/weft/v1/resources_pb.js";
import { kinds } from "./kinds.ts";
import { sharingDecoder } from "./network-octets.ts";

function encode(fields: MessageInitShape<typeof NetworkSchema>): Uint8Array {
  return toBinary(NetworkSchema, create(NetworkSchema, fields));
}

function decodeWhole(octets: Uint8Array): Result<Network, WeftError> {
  const message = fromBinary(NetworkSchema, octets);
  return checked("network", message.name, parseNetwork(kinds.network.fieldsOf(message)));
}

/** Mostly one of the first. */
function mostly<Value>(usual: readonly Value[], ...others: Value[]): fc.Arbitrary<Value> {
  return fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const fields: fc.Arbitrary<MessageInitShape<typeof NetworkSchema>> = fc
  .tuple(
    fc.record({
      name: mostly(["a", "blue", "x".repeat(63)], "x".repeat(64), "Bad", "é", ""),
      tenant: mostly(["acme"], "-", "t".repeat(41)),
      vni: mostly([4095, 4096, 16_777_215], 1, 16_777_216, 0xffff_ffff, 0),
      subnets: mostly<string[]>(
        [["10.0.0.0/24"], ["10.0.0.0/24", "fd00::/64"]],
        ["10.0.0.1/24"],
        ["10.0.0.0/31"],
        ["10.0.0.0/24", "10.1.0.0/24"],
        ["no"],
        [],
      ),
      gateways: mostly<string[]>([[], ["10.0.0.1"]], ["10.0.0.1", "fd00::1"], ["10.0.0.0"], ["192.0.2.1"], ["no"]),
    }),
    fc.constantFrom<MessageInitShape<typeof NetworkSchema>>(
      {},
      { mode: "l3" },
      { mode: "l3", blockSize: 256, encapsulation: "gre" },
      { mode: "l3", encapsulation: "direct" },
      { encapsulation: "nvgre", nodeSelector: { zone: "a" } },
      { encapsulation: "no" },
      { mtu: 1200 },
      { egress: true, bandwidth: { send: { limit: "1Gbit" } } },
    ),
  )
  .map(([own, rest]) => ({ ...own, ...rest }));

function outcome(decode: (octets: Uint8Array) => Result<Network, WeftError>, octets: Uint8Array): unknown {
  try {
    const read = decode(octets);
    return read.ok ? read.value : read.error.message;
  } catch (error) {
    assert.ok(!(error instanceof WeftError));
    return String(error);
  }
}

describe("networks that are alike but for some fields", () => {
  it("are read as each by itself", () => {
    let shared = 0;
    fc.assert(
      fc.property(fc.array(fields, { minLength: 30, maxLength: 40 }), (networks) => {
        let reads = 0;
        const decode = sharingDecoder((octets) => {
          reads++;
          return decodeWhole(octets);
        });
        for (const octets of networks.map(encode)) {
          const before = reads;
          assert.deepEqual(outcome(decode, octets), outcome(decodeWhole, octets));
          if (reads === before) shared++;
        }
      }),
      { numRuns: 100 },
    );
    assert.ok(shared > 500, `only ${shared} were like another`);
  });

  it("are read as each by itself whatever their octets", () => {
    const subnets = ["10.0.0.0/24"];
    const octets = encode({ name: "a", tenant: "t", vni: 70_000, subnets, gateways: ["10.0.0.1"], egress: true });
    const decode = sharingDecoder(decodeWhole);
    outcome(decode, octets);
    for (let length = 0; length <= octets.length; length++)
      assert.deepEqual(outcome(decode, octets.subarray(0, length)), outcome(decodeWhole, octets.subarray(0, length)));
    fc.assert(
      fc.property(fc.nat(octets.length - 1), fc.nat(255), fc.uint8Array({ maxLength: 3 }), (place, octet, more) => {
        const changed = Uint8Array.from([...octets, ...more]);
        changed[place] = octet;
        assert.deepEqual(outcome(decode, changed), outcome(decodeWhole, changed));
      }),
      { numRuns: 5_000 },
    );
  });

  it("share what is alike", () => {
    const decode = sharingDecoder(decodeWhole);
    const like = { tenant: "t", vni: 1, subnets: ["10.0.0.0/24"], nodeSelector: { zone: "a" } };
    const [one, other] = ["a", "b"].map((name) => decode(encode({ ...like, name })));
    assert.ok(one?.ok && other?.ok);
    assert.deepEqual([one.value.name, other.value.name], ["a", "b"]);
    assert.equal(one.value.nodeSelector, other.value.nodeSelector);
  });
});
