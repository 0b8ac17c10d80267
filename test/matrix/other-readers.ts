/** Captures as tcpdump and tshark read them, beside weft's own reading. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { unwrap } from "../../src/base/result.ts";
import { decodeFrame, describeFrame, type Layer, readPcap } from "../../src/wire/index.ts";
import { readWithTshark } from "../golden/tshark.ts";
import { readFields } from "../golden/tshark-fields.ts";
import type { Check } from "./attempt.ts";
import { isDirect, type MatrixCase } from "./cases.ts";
import { decodeOptions } from "./outer-header.ts";

/**
 * Whether both programs find in each frame of the network what weft's codecs find there: tshark the same value in every
 * field of every header, tcpdump the same addresses, ports, identifiers and echo messages.
 */
export function compareReaders(file: string, each: MatrixCase, target: readonly string[]): Check {
  try {
    const { packets } = unwrap(readPcap(new Uint8Array(readFileSync(file))));
    const frames = packets.map(({ bytes }) => decodeFrame(bytes, decodeOptions(each)));
    const tshark = readWithTshark(file, each.encapsulation === "vxlan" ? [`udp.port==${each.port},vxlan`] : []);
    const tcpdump = readWithTcpdump(file, each);
    if (tshark.length !== frames.length || tcpdump.length !== frames.length)
      throw new Error(`${frames.length} frames, of which tshark reads ${tshark.length} and tcpdump ${tcpdump.length}`);
    let compared = 0;
    for (const [index, frame] of frames.entries()) {
      if (!isOfNetwork(frame.layers, each, target)) continue;
      compared++;
      const line = describeFrame(frame);
      for (const [field, ours] of Object.entries(readFields(frame.layers))) {
        const theirs = tshark[index]?.[field];
        if (!isDeepStrictEqual(theirs, ours)) throw new Error(`tshark reads ${field} ${theirs}, not ${ours}: ${line}`);
      }
      const theirs = factsOf(tcpdump[index] ?? "");
      const ours = factsOf(line);
      if (theirs !== ours) throw new Error(`tcpdump reads ${theirs}, not ${ours}: ${tcpdump[index]}`);
    }
    if (compared === 0) throw new Error("no frame of the network was captured");
    return { passed: true, text: `${compared} frames` };
  } catch (error) {
    return { passed: false, text: (error as Error).message };
  }
}

/** A tunnelled frame, or one to or from the container where there is no tunnel. */
function isOfNetwork(layers: readonly Layer[], each: MatrixCase, target: readonly string[]): boolean {
  const addresses = layers.flatMap(({ protocol, header }) =>
    protocol === "ipv4" || protocol === "ipv6" ? [[header.source, header.destination]] : [],
  );
  if (isDirect(each)) return addresses[0]?.some((address) => target.includes(address)) ?? false;
  return addresses.length > 1 || layers.some(({ protocol }) => ["vxlan", "geneve", "gre"].includes(protocol));
}

/** One text for each frame, which may have several lines. */
function readWithTcpdump(file: string, { encapsulation, port }: MatrixCase): string[] {
  // By its usual port it knows VXLAN, and at others it takes our word. What is on 8472 is to it another protocol.
  const meaning = encapsulation === "vxlan" ? ["-T", "vxlan"] : [];
  const output = execFileSync("tcpdump", ["-n", "-tt", "-r", file, ...(port === 8472 ? meaning : [])], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return output.split(/^(?=\d+\.\d+ )/m).map((text) => text.replaceAll("\n", " ").trim());
}

/** What both ways of writing a frame have in common. */
function factsOf(text: string): string {
  const facts = [
    ...text.matchAll(/(\S+) > (\S+):|VXLAN|Geneve|GRE|(vni|key)[ =](\w+)|echo re\w+, id \d+, seq \d+, length \d+/g),
  ].map(([all, from, to, identifier, value]) => {
    if (from !== undefined) return `${from} > ${to}`;
    return identifier === undefined ? all : `${identifier} ${Number(value)}`;
  });
  return facts.join(", ");
}
