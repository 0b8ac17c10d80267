import { beforeEach } from "node:test";

const actions: (() => void)[] = [];

/** Runs `action`, which must be synchronous, when this process ends, also by a signal; the last one given first. */
export function atTheEnd(action: () => void): void {
  if (actions.length === 0) watch();
  actions.push(action);
}

function watch(): void {
  const all = (): void => {
    for (const action of actions.splice(0).reverse()) action();
  };
  process.on("exit", all);
  // What a file throws before its first test the test runner throws once more, and a process that ends by that tells nobody.
  if (process.env.NODE_TEST_CONTEXT !== undefined) {
    let isUnderWay = false;
    beforeEach(() => {
      isUnderWay = true;
    });
    process.on("uncaughtExceptionMonitor", () => isUnderWay || all());
  }
  // Not `once`, which has the signal end the process when it comes again meanwhile, as it does to a whole group.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      all();
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
}
