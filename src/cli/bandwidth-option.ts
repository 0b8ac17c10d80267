import { InvalidArgumentError } from "commander";
import { type Bandwidth, parseRate, type Rate } from "../model/bandwidth.ts";

export const bandwidthHelp = "send=RATE or receive=RATE, with ,burst=OCTETS if need be; repeat it for both directions";
export const endpointBandwidthHelp = `${bandwidthHelp}; ,guarantee=RATE where the network has a limit`;

/** `send=100Mbit,burst=64000`; `none`: nothing is limited. Directions that were not named stay out of it. */
export function bandwidthOption(text: string, previous: Bandwidth | undefined): Bandwidth {
  if (text === "none") return {};
  const [first = "", ...others] = text.split(",");
  const [direction, limit] = first.split("=");
  if ((direction !== "send" && direction !== "receive") || limit === undefined) throw refusal();
  const fields: { limit: Rate; guarantee?: Rate; burst?: number } = { limit: rate(limit) };
  for (const each of others) {
    const [name, value = ""] = each.split("=");
    if (name === "guarantee") fields.guarantee = rate(value);
    else if (name === "burst" && /^\d{1,9}$/.test(value)) fields.burst = Number(value);
    else throw refusal();
  }
  return { ...previous, [direction]: fields };
}

function rate(text: string): Rate {
  const parsed = parseRate(text);
  if (parsed.ok) return parsed.value;
  throw new InvalidArgumentError(`Allowed: ${parsed.error}`);
}

function refusal(): InvalidArgumentError {
  return new InvalidArgumentError(
    "Allowed: send=RATE or receive=RATE, with ,burst=OCTETS and ,guarantee=RATE, or none",
  );
}
