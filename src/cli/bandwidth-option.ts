import { InvalidArgumentError } from "commander";
import { type Bandwidth, parseRate, type Rate } from "../model/bandwidth.ts";

export const bandwidthHelp =
  "send=RATE or receive=RATE, with ,burst=OCTETS and ,guarantee=RATE if need be; repeat it for both directions";
export const endpointBandwidthHelp = `${bandwidthHelp}; a guarantee where the network has a limit`;

/** `send=100Mbit,burst=64000`, `send,guarantee=20Mbit`; `none`: nothing is limited. Directions that were not named stay out of it. */
export function bandwidthOption(text: string, previous: Bandwidth | undefined): Bandwidth {
  if (text === "none") return {};
  const [first = "", ...others] = text.split(",");
  const [direction, limit] = first.split("=");
  if ((direction !== "send" && direction !== "receive") || (limit === undefined && others.length === 0))
    throw refusal();
  const fields: { limit?: Rate; guarantee?: Rate; burst?: number } = {
    ...(limit === undefined ? {} : { limit: rateOption(limit) }),
  };
  for (const each of others) {
    const [name, value = ""] = each.split("=");
    if (name === "guarantee") fields.guarantee = rateOption(value);
    else if (name === "burst" && /^\d{1,9}$/.test(value)) fields.burst = Number(value);
    else throw refusal();
  }
  return { ...previous, [direction]: fields };
}

/** `100Mbit` */
export function rateOption(text: string): Rate {
  const parsed = parseRate(text);
  if (parsed.ok) return parsed.value;
  throw new InvalidArgumentError(`Allowed: ${parsed.error}`);
}

function refusal(): InvalidArgumentError {
  return new InvalidArgumentError(
    "Allowed: send=RATE or receive=RATE, with ,burst=OCTETS and ,guarantee=RATE, or none",
  );
}
