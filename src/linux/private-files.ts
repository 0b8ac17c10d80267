import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { messageOf, WeftError } from "../base/errors.ts";

/** Permission bits of files and directories: inode(7). */
const writableByOthers = 0o022;
const openToOthers = 0o077;
const sticky = 0o1000;

/**
 * Makes a directory for this user alone, or accepts one that is there: it, and each one above it, must be such that
 * nobody else can put or replace files in it. Others may be able to list it, as where an administrator made it: each
 * file in it is private by itself. `what`: "the data directory".
 */
export function preparePrivateDirectory(path: string, what: string, hint: string): void {
  const attempted = `use ${what} ${path}`;
  const fail = (reason: string, advice: string, cause?: unknown): WeftError =>
    new WeftError({ code: "failed-precondition", attempted, reason, hint: advice, cause });
  let place: string;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    place = realpathSync(path);
    if (!statSync(place).isDirectory()) throw new Error("it is no directory");
  } catch (error) {
    throw fail(messageOf(error), hint, error);
  }
  for (let directory = place; ; directory = dirname(directory)) {
    const { uid, mode } = statSync(directory);
    const isPlace = directory === place;
    if (uid !== ownUser() && (isPlace || uid !== 0))
      throw fail(
        `${directory} belongs to user ${uid}, who could replace its files`,
        `chown ${ownUser()} ${directory}, after a look at what is in it`,
      );
    // In a sticky directory, such as /tmp, others can make files, but not replace this one.
    if ((mode & writableByOthers) !== 0 && (isPlace || (mode & sticky) === 0))
      throw fail(
        `others may write to ${directory}: its mode is ${modeText(mode)}`,
        `chmod go-w ${directory}, after a look at what is in it`,
      );
    if (directory === dirname(directory)) return;
  }
}

/**
 * Reads a text file that is this user's, no symbolic link, and closed to others; `undefined`: there is none.
 * Throws what {@link requirePrivate} throws, and errors of the system.
 */
export function readPrivateFile(path: string): string | undefined {
  let file: number;
  try {
    // Not blocking: a FIFO must be seen to be one.
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw isLink(path, `read ${path}`);
    throw error;
  }
  try {
    checkPrivate(path, fstatSync(file), `read ${path}`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

/** Throws unless `path` is a file of this user's that is closed to others, or nothing. Does not open it. */
export function requirePrivate(path: string, attempted: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isSymbolicLink()) throw isLink(path, attempted);
  checkPrivate(path, found, attempted);
}

function checkPrivate(path: string, found: Stats, attempted: string): void {
  const refuse = (reason: string, hint: string): WeftError =>
    new WeftError({ code: "failed-precondition", attempted, reason, hint });
  if (!found.isFile()) throw refuse(`${path} is no regular file`, "see what it is, and move it away");
  if (found.uid !== ownUser())
    throw refuse(`${path} belongs to user ${found.uid}`, `chown ${ownUser()} ${path}, if you trust what it holds`);
  if ((found.mode & openToOthers) !== 0)
    throw refuse(
      `others may ${(found.mode & writableByOthers) === 0 ? "read" : "write"} ${path}: its mode is ${modeText(found.mode)}`,
      `chmod 600 ${path}, if you trust what it holds and nobody has read it`,
    );
}

function isLink(path: string, attempted: string): WeftError {
  const reason = `${path} is a symbolic link`;
  return new WeftError({ code: "failed-precondition", attempted, reason, hint: "put the file itself there" });
}

function ownUser(): number {
  return process.geteuid?.() ?? 0;
}

function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}
