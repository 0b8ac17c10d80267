import { messageOf, WeftError } from "../../base/errors.ts";
import type { Lab } from "../lab.ts";
import { Bench } from "./bench.ts";
import type { Fault } from "./fault.ts";
import { unmet } from "./needs.ts";
import { faultNamed } from "./registry.ts";
import { forgetBroken, readBroken, writeBroken } from "./state.ts";

export type { Fault } from "./fault.ts";
export { unmet } from "./needs.ts";
export { faults } from "./registry.ts";
export { readBroken } from "./state.ts";

/** Makes a fault in a lab. One at a time: what mends one could hide another. */
export async function breakLab(lab: Lab, name: string): Promise<Fault> {
  const attempted = `break ${name} in lab ${lab.names.lab}`;
  const fault = faultNamed(name, attempted);
  const present = readBroken(lab);
  if (present !== undefined)
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `${present.fault} is broken`,
      hint: `mend it before with: weft lab mend${nameOption(lab)}`,
    });
  const reason = unmet(fault.needs);
  if (reason !== undefined) throw new WeftError({ code: "unsupported", attempted, reason });
  // Before anything is touched: whatever comes of it can be mended then.
  writeBroken(lab, { fault: name, since: Date.now(), before: {} });
  try {
    await fault.break(new Bench(lab));
  } catch (error) {
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: messageOf(error),
      hint: `set back what was done of it with: weft lab mend${nameOption(lab)}`,
      cause: error,
    });
  }
  return fault;
}

/** Sets back what is broken in a lab; `undefined`: nothing is. What fails can be tried again. */
export async function mendLab(lab: Lab): Promise<Fault | undefined> {
  const present = readBroken(lab);
  if (present === undefined) return undefined;
  const fault = faultNamed(present.fault, `mend ${present.fault} in lab ${lab.names.lab}`);
  await fault.mend(new Bench(lab));
  forgetBroken(lab);
  return fault;
}

/** Whether the fault can be felt in the lab now. */
export function hasSymptom(lab: Lab, { symptom }: Fault): Promise<boolean> {
  return symptom(new Bench(lab));
}

function nameOption(lab: Lab): string {
  return lab.names.lab === "lab" ? "" : ` --name ${lab.names.lab}`;
}
