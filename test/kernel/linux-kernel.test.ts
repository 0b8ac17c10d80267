import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { it } from "node:test";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { testNamespace } from "../support/namespaces.ts";

it("tells of names that appear and vanish", async () => {
  const names: string[] = [];
  let heard = (): void => {};
  const watch = linuxKernel.watchNamed(
    (name) => {
      names.push(name);
      heard();
    },
    (error) => assert.fail(error),
  );
  try {
    const place = testNamespace("named");
    const isTold = async (): Promise<void> => {
      while (!names.includes(place.name))
        await new Promise<void>((resolve) => {
          heard = resolve;
        });
    };
    await isTold();
    names.length = 0;
    place[Symbol.dispose]();
    await isTold();
  } finally {
    watch.close();
  }
});

it("says so where inotify instances have run out, and goes on", () => {
  const script = `
    const { linuxKernel } = await import("${join(import.meta.dirname, "../../src/dataplane/linux-kernel.ts")}");
    const watch = linuxKernel.watchNamed(() => {}, (error) => console.log("failed:", error.code));
    watch.close();
    console.log("went on");`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  const without = ["-c", 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', "sh", ...node];
  assert.equal(
    execFileSync("unshare", ["--user", "--map-root-user", "sh", ...without], { encoding: "utf8" }),
    "failed: EMFILE\nwent on\n",
  );
});
