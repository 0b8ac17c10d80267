import assert from "node:assert/strict";
import { test } from "node:test";
import { annotated, codecSuite } from "./codec-suite.test.ts";
import { type GeneveHeader, geneve, geneveOptions, isCriticalOption } from "./geneve.ts";

const plain: GeneveHeader = {
  control: false,
  criticalOptions: false,
  protocolType: "transparent-ethernet-bridging",
  vni: 100,
  options: [],
};

codecSuite(geneve, {
  examples: [
    {
      name: "VNI 100 without options",
      bytes: `
        00        # version 0, no options
        00
        65 58     # Transparent Ethernet Bridging
        00 00 64  # VNI
        00`,
      value: plain,
    },
    {
      name: "options, a control message, the highest VNI",
      bytes: `
        06           # six words of options
        c0           # O and C
        08 00        # IPv4
        ff ff ff 00
        01 02 80 01  # OVN, type 128: critical, one word
        00 01 00 02
        01 00 7f 00  # Linux, no data
        fe dc 01 02  # a class without a name, two words
        01 23 45 67 89 ab cd ef`,
      value: {
        control: true,
        criticalOptions: true,
        protocolType: "ipv4",
        vni: 16777215,
        options: [
          { optionClass: "ovn", type: 0x80, data: Uint8Array.of(0, 1, 0, 2) },
          { optionClass: "linux", type: 0x7f, data: new Uint8Array() },
          {
            optionClass: { unknown: 0xfedc },
            type: 1,
            data: Uint8Array.of(0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef),
          },
        ],
      },
    },
    {
      name: "252 octets of options, the most there can be",
      bytes: `3f 00 65 58 00 00 64 00 01 01 01 1f ${"ab".repeat(124)} 01 01 02 1e ${"cd".repeat(120)}`,
      value: {
        ...plain,
        options: [
          { optionClass: "open-vswitch", type: 1, data: new Uint8Array(124).fill(0xab) },
          { optionClass: "open-vswitch", type: 2, data: new Uint8Array(120).fill(0xcd) },
        ],
      },
    },
    {
      name: "an EtherType without a name",
      bytes: "00 00 89 4f 00 00 64 00",
      value: { ...plain, protocolType: { unknown: 0x894f } },
    },
  ],
  refused: [
    {
      name: "version 1",
      bytes: "40 00 65 58 00 00 64 00",
      error: { header: "geneve", what: "version is 1, not 0", offset: 0 },
    },
    {
      name: "an option that ends behind the options",
      bytes: "02 00 65 58 00 00 64 00 01 02 01 02 00 00 00 00 00 00 00 00",
      error: { header: "geneve option", what: "cut short", offset: 8, needed: 12, available: 8 },
    },
  ],
  unfit: [
    {
      name: "VNI 16777216",
      value: { ...plain, vni: 16777216 },
      message: /^geneve\.vni is 16777216, not a number of 24 bits$/,
    },
    {
      name: "256 octets of options",
      value: {
        ...plain,
        options: [124, 124].map((octets) => ({ optionClass: "linux", type: 1, data: new Uint8Array(octets) })),
      },
      message: /^geneve\.optionWords is 64, not a number of 6 bits$/,
    },
    {
      name: "an option of 128 octets",
      value: { ...plain, options: [{ optionClass: "linux", type: 1, data: new Uint8Array(128) }] },
      message: /^geneve option\.dataWords is 32, not a number of 5 bits$/,
    },
    {
      name: "an option of 3 octets",
      value: { ...plain, options: [{ optionClass: "linux", type: 1, data: new Uint8Array(3) }] },
      message: /^geneve option data has a multiple of 4 octets, not 3$/,
    },
    {
      name: "option type 256",
      value: { ...plain, options: [{ optionClass: "linux", type: 256, data: new Uint8Array() }] },
      message: /^geneve option\.type is 256, not a number of 8 bits$/,
    },
  ],
});

codecSuite(geneveOptions, {
  examples: [
    {
      name: "two options",
      bytes: "01 01 80 01 00 11 22 33  01 02 01 00",
      value: [
        { optionClass: "open-vswitch", type: 0x80, data: Uint8Array.of(0, 0x11, 0x22, 0x33) },
        { optionClass: "ovn", type: 1, data: new Uint8Array() },
      ],
      wholeAt: [0, 8],
    },
  ],
});

test("reserved bits are ignored on receipt and sent as zero", () => {
  const decoded = geneve.decode(annotated("01 3f 65 58 00 00 64 ff  01 01 05 e0"));
  const options = [{ optionClass: "open-vswitch", type: 5, data: new Uint8Array() }] as const;
  assert.deepEqual(decoded, { ok: true, value: { ...plain, options } });
  const target = new Uint8Array(12).fill(0xff);
  geneve.encode({ ...plain, options }, target);
  assert.deepEqual(target, annotated("01 00 65 58 00 00 64 00  01 01 05 00"));
});

test("the high bit of the type makes an option critical", () => {
  assert.equal(isCriticalOption({ type: 0x7f }), false);
  assert.equal(isCriticalOption({ type: 0x80 }), true);
});
