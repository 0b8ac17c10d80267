import { err, ok } from "../../base/result.ts";
import type { TextParser } from "../../model/names.ts";

/** The name of a network configuration, and the ID of a container: sections 1 and 2 of the specification. */
export const parseCniName: TextParser<string> = (text) =>
  /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text)
    ? ok(text)
    : err("letters, digits, _, . and -, beginning with a letter or digit");

/** The longest that fits with the zero octet that ends it. unix(7): `sun_path`. */
const longestSocketPath = 107;

/** `agentSocket` of a configuration: plugin.c looks for it in the JSON text, and resolves no escapes. */
export const parseAgentSocket: TextParser<string> = (text) =>
  text.length <= longestSocketPath && /^\/[ !#-[\]-~]*$/.test(text)
    ? ok(text)
    : err(`an absolute path of at most ${longestSocketPath} printable ASCII characters without quotes and backslashes`);
