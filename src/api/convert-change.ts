import type { WeftError } from "../base/errors.ts";
import { ok, type Result } from "../base/result.ts";
import { type Encapsulation, encapsulations } from "../model/encapsulation.ts";
import type { NetworkChange, WayFields } from "../model/phase.ts";
import { asFields, codec, wrong } from "./codec.ts";
import { NetworkChangeSchema } from "./generated/weft/v1/readiness_pb.js";

export const networkChange = codec(
  NetworkChangeSchema,
  ({ since, ...fields }: NetworkChange) => asFields({ ...fields, since: BigInt(since) }),
  ({ phase, mtu, deviceMtu, since, leftBehind, ...message }): Result<NetworkChange, WeftError> => {
    if (phase !== "receive" && phase !== "send")
      return wrong("the change of a network", "", `unknown phase "${phase}"`);
    const previous: WayFields[] = [];
    for (const { encapsulation, port, crossSubnet } of message.previous) {
      if (!Object.hasOwn(encapsulations, encapsulation))
        return wrong("the change of a network", "", `unknown encapsulation "${encapsulation}"`);
      previous.push({ encapsulation: encapsulation as Encapsulation, port, crossSubnet });
    }
    const [first, ...others] = previous;
    if (first === undefined) return wrong("the change of a network", "", "no way before it is named");
    return ok({
      phase,
      previous: [first, ...others],
      mtu,
      deviceMtu: deviceMtu || mtu,
      since: Number(since),
      leftBehind,
    });
  },
);
