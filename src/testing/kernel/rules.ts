import { isDeepStrictEqual } from "node:util";
import type { IpFamily } from "../../base/ip.ts";
import { eventGroup } from "../../netlink/events.ts";
import { createRule, RTM_DELRULE, RTM_NEWRULE, type Rule, readRule } from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told } from "./request.ts";

const AF_INET6 = 10;

/** The rules of one namespace: at first those that the kernel makes. net/ipv4/fib_rules.c, net/ipv6/fib6_rules.c */
export class Rules implements Family {
  #present: readonly Rule[] = [
    kernelRule(4, 0, 255),
    kernelRule(4, 32766, 254),
    kernelRule(4, 32767, 253),
    kernelRule(6, 0, 255),
    kernelRule(6, 32766, 254),
  ];
  readonly #tell: (group: number, message: FakeMessage) => void;

  constructor(tell: (group: number, message: FakeMessage) => void) {
    this.#tell = tell;
  }

  /** In the order in which they are tried. */
  get all(): readonly Rule[] {
    return this.#present;
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWRULE);
    if (operation === undefined || operation === "set" || operation === "get") return undefined;
    if (operation === "dump") {
      const family = request.payload[0] === AF_INET6 ? 6 : 4;
      const shown = this.#present.filter((rule) => rule.family === family);
      return { messages: shown.map((rule) => told(RTM_NEWRULE, createRule(rule))) };
    }
    const asked = readAs(request, readRule);
    const present = this.#present.find((rule) => isDeepStrictEqual(rule, asked));
    if (operation === "new") {
      refuseByFlags(request, present !== undefined);
      this.#present = [...this.#present, asked].sort((a, b) => a.priority - b.priority);
    } else {
      if (present === undefined) throw new Refusal("ENOENT");
      this.#present = this.#present.filter((rule) => rule !== present);
    }
    const group = asked.family === 4 ? eventGroup.ipv4Rule : eventGroup.ipv6Rule;
    this.#tell(group, told(operation === "new" ? RTM_NEWRULE : RTM_DELRULE, createRule(asked)));
    return {};
  }
}

function kernelRule(family: IpFamily, priority: number, table: number): Rule {
  return { family, priority, table, protocol: 2 };
}
