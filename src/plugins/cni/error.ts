import { type ErrorCode, messageOf, WeftError } from "../../base/errors.ts";

/** Error codes of the specification (below 100), and weft's own. */
export const errorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  containerUnknown: 3,
  invalidEnvironment: 4,
  inputOutput: 5,
  undecodable: 6,
  invalidConfiguration: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** What weft could not do, for a reason that has no other number. */
  failed: 100,
  /** The container has an interface of that name, or was added already. */
  alreadyThere: 101,
  /** The address or MAC is taken, or none is left. */
  noAddress: 102,
  /** CHECK found something otherwise than it shall be. */
  different: 103,
  /** The IPAM plugin could not be run, or did not answer as one. */
  delegate: 104,
} as const;

export type CniErrorCode = (typeof errorCode)[keyof typeof errorCode];

/** What a runtime is told. */
export class CniError extends Error {
  override readonly name = "CniError";
  /** One of {@link errorCode}, or what a delegated plugin said. */
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = "") {
    super(message);
    this.code = code;
    this.details = details;
  }
}

const codes: Readonly<Record<ErrorCode, CniErrorCode>> = {
  "invalid-argument": errorCode.invalidConfiguration,
  "not-found": errorCode.invalidConfiguration,
  "already-exists": errorCode.alreadyThere,
  exhausted: errorCode.noAddress,
  unavailable: errorCode.tryAgainLater,
  "in-use": errorCode.tryAgainLater,
  "failed-precondition": errorCode.failed,
  "permission-denied": errorCode.failed,
  unauthenticated: errorCode.failed,
  unsupported: errorCode.failed,
  internal: errorCode.failed,
};

export function asCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof WeftError) return new CniError(codes[thrown.code], thrown.message, thrown.hint);
  return new CniError(errorCode.failed, messageOf(thrown));
}

/** Section 5 of the specification, "Error". */
export function errorText(error: CniError, cniVersion: string): string {
  const { code, message, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg: message, ...(details === "" ? {} : { details }) })}\n`;
}
