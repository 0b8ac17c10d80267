/** Faults of the lab, of the kinds that are quickly made; the others are tried in test/long. */

import { fileRequires } from "../support/kernel.ts";
import { kernelNeeds, testFaults } from "../support/lab-faults.ts";

await fileRequires("quick processes");
const groups: readonly string[] = ["underlay", "firewalls", "containers", "rules"];
testFaults((fault) => groups.includes(fault.group) && kernelNeeds(fault).length === 0);
