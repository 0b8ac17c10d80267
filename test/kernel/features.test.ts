/** What kernels differ in: each feature that a test can ask for is there on one of the kernels at least. */
import { test } from "node:test";
import { kernelFeatures, requires } from "../support/kernel.ts";

for (const feature of kernelFeatures) test(`this kernel has ${feature}`, requires(feature), () => {});
