export * from "./evaluate.ts";
export * from "./label-selector.ts";
export * from "./policy.ts";
export { endpointLabels, parseEndpointLabels, parsePolicy, parseProtocol, policyFields, ruleFields } from "./schema.ts";
