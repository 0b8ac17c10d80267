/** Faults of the lab for which agents and servers end and start, or many packets are sent; the others are tried in test/kernel. */
import { kernelNeeds, testFaults } from "../support/lab-faults.ts";

const groups: readonly string[] = ["paths", "tunnels", "tables", "services", "load"];
testFaults((fault) => groups.includes(fault.group) && kernelNeeds(fault).length === 0);
