import { type Command, InvalidArgumentError, Option } from "commander";
import { type Cidr, parseCidr } from "../base/cidr.ts";
import { parseDuration } from "../base/duration.ts";
import { parseIp } from "../base/ip.ts";
import { parseMac } from "../base/mac.ts";
import type { Result } from "../base/result.ts";
import { parseBootFile, parseDomain } from "../model/dhcp.ts";
import {
  parseInstanceName,
  parseInterfaceName,
  parseNetworkName,
  parseNodeName,
  parsePeerName,
  type TextParser,
} from "../model/names.ts";
import { type OutputFormat, outputFormats } from "./output.ts";

export interface WithServer {
  readonly server: string;
}
export interface WithAgent {
  readonly agent: string;
}
export interface WithOutput {
  readonly output: OutputFormat;
}

const defaultServerSocket = "/var/lib/weft/server/server.sock";
const defaultAgentSocket = "/run/weft/agent.sock";

export function serverOption(): Option {
  return new Option("--server <socket>", "the server's admin socket").env("WEFT_SERVER").default(defaultServerSocket);
}

export function agentOption(): Option {
  return new Option("--agent <socket>", "the agent's socket").env("WEFT_AGENT").default(defaultAgentSocket);
}

export function outputOption(): Option {
  return new Option("-o, --output <form>", "the form of what is shown").choices(outputFormats).default("table");
}

/** Examples below the options of `--help`. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

/** A parser of one value for commander; a malformed value is wrong usage. */
function value<Value>(parse: (text: string) => Result<Value, string>) {
  return (text: string): Value => {
    const parsed = parse(text);
    if (parsed.ok) return parsed.value;
    throw new InvalidArgumentError(parsed.error);
  };
}

/** As {@link value}, by one of the parsers that say what is allowed only. */
export function allowedValue(parse: TextParser<string>): (text: string) => string {
  return value((text) => {
    const parsed = parse(text);
    return parsed.ok ? parsed : { ok: false, error: `Allowed: ${parsed.error}` };
  });
}

/** As {@link value}, for an option that can be repeated. */
function values<Value>(parse: (text: string) => Result<Value, string>) {
  const one = value(parse);
  return (text: string, previous: readonly Value[] | undefined): readonly Value[] => [...(previous ?? []), one(text)];
}

export const address = value(parseIp);
export const addresses = values(parseIp);
export const prefixes = values(parseCidr);
/** Prefixes with commas between; the option can be repeated. */
export const prefixList = (text: string, previous: readonly Cidr[] | undefined): readonly Cidr[] =>
  text.split(",").reduce<readonly Cidr[]>((list, part) => prefixes(part.trim(), list), previous ?? []);
export const macAddress = value(parseMac);
export const duration = value(parseDuration);
export const interfaceName = allowedValue(parseInterfaceName);
export const instanceName = allowedValue(parseInstanceName);
export const nodeName = allowedValue(parseNodeName);
export const domain = allowedValue(parseDomain);
export const bootFile = allowedValue(parseBootFile);
export const networkName = allowedValue(parseNetworkName);
export const networkOfTenant = allowedValue(parsePeerName);

/** A decimal number within bounds. */
export function integer(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!/^\d+$/.test(text) || number < minimum || number > maximum)
      throw new InvalidArgumentError(`Allowed: ${minimum} to ${maximum}`);
    return number;
  };
}

/** `ADDRESS:PORT`, an IPv6 address in brackets. */
export function addressAndPort(text: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (match === null || !parseIp(match[1] ?? match[2] ?? "").ok || Number(match[3]) > 65_535)
    throw new InvalidArgumentError("It is not of the form ADDRESS:PORT or [ADDRESS]:PORT.");
  return text;
}
