import type { Expression } from "./ruleset.ts";

/** What a target of iptables that is no chain does, whichever program wrote the rule; `undefined`: it is none that is known. */
export function targetExpressions(name: string, isNotTracked: boolean): Expression[] | undefined {
  switch (name) {
    case "REJECT":
      return [{ reject: null }];
    case "MASQUERADE":
    case "SNAT":
      return [{ snat: null }];
    case "DNAT":
    case "REDIRECT":
      return [{ dnat: null }];
    case "NOTRACK":
      return [{ notrack: null }];
    case "CT":
      return isNotTracked ? [{ notrack: null }] : [];
    case "MARK":
    case "CONNMARK":
      return [{ mangle: { key: { meta: { key: "mark" } }, value: { xt: name } } }];
    case "LOG":
    case "NFLOG":
    case "TCPMSS":
    case "CHECKSUM":
    case "TOS":
    case "DSCP":
      return [];
    default:
      return undefined;
  }
}
