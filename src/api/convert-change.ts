import { create } from "@bufbuild/protobuf";
import { WeftError } from "../base/errors.ts";
import { err, ok, type Result } from "../base/result.ts";
import { type Encapsulation, encapsulations } from "../model/encapsulation.ts";
import type { NetworkChange, WayFields } from "../model/phase.ts";
import { type NetworkChange as NetworkChangeMessage, NetworkChangeSchema } from "./generated/weft/v1/readiness_pb.js";

export function networkChangeToMessage(change: NetworkChange): NetworkChangeMessage {
  const { phase, previous, mtu, since, leftBehind } = change;
  return create(NetworkChangeSchema, {
    phase,
    previous: previous.map(({ encapsulation, port, crossSubnet }) => ({ encapsulation, port, crossSubnet })),
    mtu,
    since: BigInt(since),
    leftBehind: [...leftBehind],
  });
}

export function networkChangeFromMessage(message: NetworkChangeMessage): Result<NetworkChange, WeftError> {
  const { phase, mtu, since, leftBehind } = message;
  const wrong = (reason: string): Result<NetworkChange, WeftError> =>
    err(new WeftError({ code: "invalid-argument", attempted: "read the change of a network", reason }));
  if (phase !== "receive" && phase !== "send") return wrong(`unknown phase "${phase}"`);
  const previous: WayFields[] = [];
  for (const { encapsulation, port, crossSubnet } of message.previous) {
    if (!Object.hasOwn(encapsulations, encapsulation)) return wrong(`unknown encapsulation "${encapsulation}"`);
    previous.push({ encapsulation: encapsulation as Encapsulation, port, crossSubnet });
  }
  const [first, ...others] = previous;
  if (first === undefined) return wrong("no way before it is named");
  return ok({ phase, previous: [first, ...others], mtu, since: Number(since), leftBehind });
}
