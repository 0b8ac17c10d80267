import { CniError, errorCode } from "./error.ts";

/** Versions of the specification that are spoken, oldest first; plugin.c answers VERSION with the same. */
export const supportedVersions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type CniVersion = (typeof supportedVersions)[number];

/** What a configuration that names no version means. */
const unnamedVersion = "0.1.0";

export function parseVersion(found: unknown): CniVersion {
  const wanted = found === undefined ? unnamedVersion : found;
  const version = supportedVersions.find((each) => each === wanted);
  if (version !== undefined) return version;
  throw new CniError(
    errorCode.incompatibleVersion,
    `incompatible CNI versions: the configuration is ${JSON.stringify(wanted)}, the plugin supports ${JSON.stringify(supportedVersions)}`,
    "set cniVersion in the configuration to one of these",
  );
}

export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return supportedVersions.indexOf(version) >= supportedVersions.indexOf(least);
}
