/** Faults of the lab that not every kernel can have. Slow where they can be had, as all of a lab is there. */
import { faults } from "../../src/lab/faults/index.ts";
import { fileRequires } from "../support/kernel.ts";
import { kernelNeeds, testFaults } from "../support/lab-faults.ts";

const few = faults.filter((fault) => kernelNeeds(fault).length > 0);
await fileRequires(...new Set(few.flatMap(kernelNeeds)));
testFaults((fault) => few.includes(fault));
