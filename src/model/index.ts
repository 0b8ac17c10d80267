export * from "./allocation.ts";
export type { RandomBytes } from "./endpoint-mac.ts";
export * from "./mtu.ts";
export * from "./names.ts";
export * from "./problem.ts";
export type * from "./resources.ts";
export * from "./schema.ts";
export * from "./subnet.ts";
export type { ReleasedAddress } from "./subnet-pool.ts";
