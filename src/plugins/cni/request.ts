import { CniError, errorCode } from "./error.ts";

/** What plugin.c sends: the CNI_ variables, each ended by a zero octet, one more zero octet, the configuration. */
export interface PluginRequest {
  readonly environment: Readonly<Record<string, string>>;
  readonly configuration: string;
}

export function parseRequest(octets: Uint8Array): PluginRequest {
  const environment: Record<string, string> = {};
  const decoder = new TextDecoder();
  for (let start = 0; ; ) {
    const end = octets.indexOf(0, start);
    if (end < 0) throw new CniError(errorCode.undecodable, "the request is cut short");
    if (end === start) return { environment, configuration: decoder.decode(octets.subarray(end + 1)) };
    const variable = decoder.decode(octets.subarray(start, end));
    const equals = variable.indexOf("=");
    if (variable.startsWith("CNI_") && equals > 0) environment[variable.slice(0, equals)] = variable.slice(equals + 1);
    start = end + 1;
  }
}
