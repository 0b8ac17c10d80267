import { run } from "./run.ts";

// Meant for this program by bin/weft, not for programs that it starts.
delete process.env.NODE_COMPILE_CACHE;

// `weft fdb | head` ends early: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

await run(process.argv.slice(2));
