/** What tshark reads in a capture, in the fields that weft's reading is compared in. */
import { execFileSync } from "node:child_process";
import { type FieldReadings, plain, tsharkFields } from "./tshark-fields.ts";

/** The fields of each frame. `decodeAs`: what it cannot know by itself, such as `udp.port==8472,vxlan`. */
export function readWithTshark(path: string, decodeAs: readonly string[] = []): FieldReadings[] {
  const options = ["-n", "-r", path, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=;"];
  const preferences = ["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"];
  const meanings = decodeAs.flatMap((each) => ["-d", each]);
  const fields = tsharkFields.flatMap((field) => ["-e", field]);
  const output = execFileSync("tshark", [...options, ...preferences, ...meanings, ...fields], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return output.replace(/\n$/, "").split("\n").map(readingsOf);
}

function readingsOf(line: string): FieldReadings {
  const columns = line.split("\t").map((text, index) => {
    const values = text.split(";").filter((value) => value !== "");
    return [tsharkFields[index] as string, values.map(plain)] as const;
  });
  return Object.fromEntries(columns.filter(([, values]) => values.length > 0));
}
