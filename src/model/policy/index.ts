export * from "./evaluate.ts";
export * from "./label-selector.ts";
export * from "./policy.ts";
export { parseEndpointLabels, parsePolicy } from "./schema.ts";
