import { AttributeSchema, s32, u32 } from "../../netlink/attribute.ts";
import type { FakeAnswer, FakeRequest } from "../fake-kernel.ts";
import type { Links } from "./links.ts";
import { type Family, operationOf, Refusal, viewOf } from "./request.ts";

/** linux/rtnetlink.h; `struct rtgenmsg`, aligned. */
const RTM_NEWNSID = 88;
const headerLength = 4;
/** linux/net_namespace.h: `NETNSA_*`. */
const schema = new AttributeSchema("NETNSA", { id: s32(1), descriptor: u32(3) });
const notAssigned = -1;

/** The numbers that a namespace has for others. */
export class NamespaceIds implements Family {
  readonly #links: Links;

  constructor(links: Links) {
    this.#links = links;
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWNSID);
    if (operation !== "new" && operation !== "get") return undefined;
    const { payload } = request;
    const { descriptor } = schema.read(payload, viewOf(payload), headerLength, payload.length);
    if (descriptor === undefined) throw new Refusal("EINVAL");
    const other = this.#links.linksOf(descriptor);
    const known = this.#links.knownIdOf(other);
    if (operation === "new") {
      if (known !== undefined) throw new Refusal("EEXIST");
      this.#links.idOf(other);
      return {};
    }
    return {
      messages: [
        {
          type: RTM_NEWNSID,
          write(writer) {
            writer.reserve(headerLength);
            schema.write(writer, { id: known ?? notAssigned });
          },
        },
      ],
    };
  }
}
