import { WeftError } from "../../base/errors.ts";
import { containerFaults } from "./containers.ts";
import type { Fault } from "./fault.ts";
import { firewallFaults } from "./firewalls.ts";
import { loadFaults } from "./load.ts";
import { pathFaults } from "./paths.ts";
import { ruleFaults } from "./rules.ts";
import { serviceFaults } from "./services.ts";
import { tableFaults } from "./tables.ts";
import { tunnelFaults } from "./tunnels.ts";
import { underlayFaults } from "./underlay.ts";

/** All faults, from the cable upwards. */
export const faults: readonly Fault[] = [
  ...underlayFaults,
  ...firewallFaults,
  ...pathFaults,
  ...tunnelFaults,
  ...tableFaults,
  ...containerFaults,
  ...ruleFaults,
  ...serviceFaults,
  ...loadFaults,
];

export function faultNamed(name: string, attempted: string): Fault {
  const found = faults.find((fault) => fault.name === name);
  if (found !== undefined) return found;
  throw new WeftError({
    code: "not-found",
    attempted,
    reason: `there is no fault ${name}`,
    hint: "see them with: weft lab list",
  });
}
