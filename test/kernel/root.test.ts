import { test } from "node:test";

test("the tests of this folder run as root", () => {
  if (process.getuid?.() !== 0)
    throw new Error("kernel tests make network namespaces and devices of their own: run `npm test` as root");
});
