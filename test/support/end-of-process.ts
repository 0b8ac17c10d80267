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
  // Not `once`, which has the signal end the process when it comes again meanwhile, as it does to a whole group.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      all();
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
}
