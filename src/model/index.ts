export * from "./mtu.ts";
export * from "./names.ts";
export * from "./problem.ts";
export type * from "./resources.ts";
export * from "./schema.ts";
export * from "./subnet.ts";
