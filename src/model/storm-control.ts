import type { StormControl } from "./resources.ts";

/** Address resolution, announcements and service discovery of a busy host stay far below; a loop does not. */
export const defaultStormControl: StormControl = { port: 1000, network: 5000 };

/** What is usual is kept once, however many networks have it. */
export function sharedStormControl({ port, network }: StormControl): StormControl {
  const isUsual = port === defaultStormControl.port && network === defaultStormControl.network;
  return isUsual ? defaultStormControl : { port, network };
}
