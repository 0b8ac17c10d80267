import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { WeftError } from "../base/errors.ts";
import { checked } from "./descriptor.ts";
import { lastErrno, libc } from "./libc.ts";
import { isErrno, SystemError } from "./system-error.ts";

/** sched.h */
const CLONE_NEWNET = 0x4000_0000;
/** sys/mount.h */
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_SHARED = 0x10_0000;
const MNT_DETACH = 2;
/** asm-generic/fcntl.h: a descriptor of the place alone. Whatever is there (a FIFO, a device) is not opened and cannot block. */
const O_PATH = 0o1000_0000;
/** linux/nsfs.h: which CLONE_NEW… a namespace's descriptor is of. */
const NS_GET_NSTYPE = 0xb703;
/** NSFS_MAGIC objects: each namespace is an inode; its number names it while it lives. */
const namedDirectory = "/run/netns";

/**
 * A network namespace, held open: it lives as long as this object is not closed, whatever happens to its name.
 *
 * Entering one is a property of a thread, so everything that needs it is done in one synchronous
 * {@link NetworkNamespace.run}; what is made there (sockets, child processes) stays there for good.
 */
export class NetworkNamespace {
  /** How the operator knows it: its name under /run/netns, or its path. */
  readonly label: string;
  /** An open descriptor of the namespace, for IFLA_NET_NS_FD. */
  readonly fd: number;
  /** Inode number on nsfs: two namespaces are the same if theirs are equal. */
  readonly inode: number;
  #open = true;

  private constructor(label: string, fd: number, inode: number) {
    this.label = label;
    this.fd = fd;
    this.inode = inode;
  }

  /** The namespace that this process started in. */
  static current(): NetworkNamespace {
    return NetworkNamespace.#openPath("/proc/self/ns/net", "this namespace");
  }

  /** A namespace by path: `/run/netns/NAME`, `/proc/PID/ns/net`. */
  static open(path: string): NetworkNamespace {
    return NetworkNamespace.#openPath(
      path,
      path.startsWith(`${namedDirectory}/`) ? path.slice(namedDirectory.length + 1) : path,
    );
  }

  /** A namespace that {@link createNamedNamespace} or `ip netns add` made. */
  static openNamed(name: string): NetworkNamespace {
    return NetworkNamespace.#openPath(namedNamespacePath(name), name);
  }

  static #openPath(path: string, label: string): NetworkNamespace {
    const attempted = `open network namespace ${label}`;
    let fd: number | undefined;
    try {
      fd = openIfOnNsfs(path);
    } catch (error) {
      throw explainOpenFailure(error, path, attempted);
    }
    if (fd !== undefined && libc.ioctl(fd, NS_GET_NSTYPE) === CLONE_NEWNET)
      return new NetworkNamespace(label, fd, fstatSync(fd).ino);
    if (fd !== undefined) closeSync(fd);
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `${path} is not a network namespace`,
      hint: "give the name of a namespace (ip netns list) or a path such as /proc/PID/ns/net",
    });
  }

  /** Runs `action` with this thread inside the namespace. `action` must be synchronous. */
  run<Value>(action: () => Value): Value {
    const home = openSync("/proc/thread-self/ns/net", "r");
    try {
      checked(libc.setns(this.fd, CLONE_NEWNET), `enter network namespace ${this.label}`);
      try {
        return action();
      } finally {
        // A thread that cannot come home would do everything that follows in the wrong place.
        if (libc.setns(home, CLONE_NEWNET) !== 0) {
          process.abort();
        }
      }
    } finally {
      closeSync(home);
    }
  }

  /** Starts a program inside the namespace. */
  spawn(command: string, parameters: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return this.run(() => spawn(command, parameters, options));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export function namedNamespacePath(name: string): string {
  return `${namedDirectory}/${name}`;
}

/**
 * The path under /run/netns that a path means whose directory that is, however it is spelt: `/var/run/netns/red`,
 * `/run/netns/../netns/red`; also when there is nothing of this name yet or any more. Other paths stay as they are.
 */
export function canonicalNamespacePath(path: string): string {
  try {
    const isNamed = realpathSync.native(dirname(path)) === realpathSync.native(namedDirectory);
    return isNamed ? namedNamespacePath(basename(path)) : path;
  } catch {
    return path;
  }
}

/** Whether the path leads through what /proc has of this process, however it is spelt: whoever else reads it means himself. */
export function isPathOfThisProcess(path: string): boolean {
  try {
    return `${realpathSync.native(dirname(path))}/`.startsWith(`/proc/${process.pid}/`);
  } catch {
    return false;
  }
}

/** The inode number of the namespace that a path means now, as {@link NetworkNamespace.inode}; `undefined`: none. */
export function namespaceInodeAt(path: string): number | undefined {
  try {
    const status = statSync(path);
    return status.dev === nsfsDevice() ? status.ino : undefined;
  } catch {
    return undefined;
  }
}

/** Names under /run/netns that are namespaces, in no order. */
export async function listNamedNamespaces(): Promise<string[]> {
  return (await readdir(namedDirectory).catch(() => [] as string[])).filter(namedNamespaceExists);
}

/** Whether the name stands for a namespace now. A leftover file without one does not count. */
export function namedNamespaceExists(name: string): boolean {
  return namespaceInodeAt(namedNamespacePath(name)) !== undefined;
}

/**
 * Makes an empty namespace under /run/netns, visible to `ip netns`. It lives until its name is deleted and
 * nobody uses it any more, also when this process ends.
 */
export function createNamedNamespace(name: string): void {
  const operation = `create network namespace ${name}`;
  const path = namedNamespacePath(name);
  shareNamedDirectory(operation);
  if (namedNamespaceExists(name)) {
    throw new SystemError({ operation, errno: 17 });
  }
  makeMountPoint(path);
  try {
    const home = openSync("/proc/thread-self/ns/net", "r");
    try {
      checked(libc.unshare(CLONE_NEWNET), operation);
      try {
        checked(libc.mount("/proc/thread-self/ns/net", path, "none", MS_BIND, null), operation);
      } finally {
        if (libc.setns(home, CLONE_NEWNET) !== 0) process.abort();
      }
    } finally {
      closeSync(home);
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Gives a namespace that is held open a name (again), for example after somebody deleted its name. EEXIST if it is taken. */
export function nameNamespace(namespace: Pick<NetworkNamespace, "fd">, name: string): void {
  const operation = `name network namespace ${name}`;
  shareNamedDirectory(operation);
  if (namedNamespaceExists(name)) throw new SystemError({ operation, errno: 17 });
  const path = namedNamespacePath(name);
  makeMountPoint(path);
  if (libc.mount(`/proc/self/fd/${namespace.fd}`, path, "none", MS_BIND, null) !== 0) {
    const failure = new SystemError({ operation, errno: lastErrno() });
    rmSync(path, { force: true });
    throw failure;
  }
}

/** Takes the name away; the kernel removes the namespace when its last user is gone. No such name is success. */
export function deleteNamedNamespace(name: string): void {
  const path = namedNamespacePath(name);
  if (libc.umount2(path, MNT_DETACH) !== 0) {
    const failure = new SystemError({ operation: `delete network namespace ${name}`, errno: lastErrno() });
    // EINVAL: a plain file that never became a mount point, left by a crash.
    if (!isErrno(failure, "ENOENT") && !isErrno(failure, "EINVAL")) throw failure;
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Processes whose network namespace this is, by number. */
export function processesIn(namespace: NetworkNamespace): number[] {
  const wanted = `net:[${namespace.inode}]`;
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/net`) === wanted;
      } catch {
        return false;
      }
    });
}

/** Opens what is at the path only after it was seen to be a namespace, of whichever kind: nothing else is touched. */
function openIfOnNsfs(path: string): number | undefined {
  const place = openSync(path, O_PATH);
  try {
    return fstatSync(place).dev === nsfsDevice() ? openSync(`/proc/self/fd/${place}`, "r") : undefined;
  } finally {
    closeSync(place);
  }
}

function explainOpenFailure(error: unknown, path: string, attempted: string): WeftError {
  const { code = String(error) } = error as NodeJS.ErrnoException;
  const isAbsent = ["ENOENT", "ENOTDIR", "ESRCH"].includes(code);
  const isForbidden = ["EACCES", "EPERM"].includes(code);
  return new WeftError({
    code: isAbsent ? "not-found" : isForbidden ? "permission-denied" : "invalid-argument",
    attempted,
    reason: isAbsent ? `${path} does not exist` : `${path}: ${code}`,
    hint: isForbidden ? "run as root" : "list namespaces with: ip netns list",
    cause: error,
  });
}

let deviceOfNsfs: number | undefined;
function nsfsDevice(): number {
  deviceOfNsfs ??= statSync("/proc/self/ns/net").dev;
  return deviceOfNsfs;
}

/** The file that a namespace is mounted on; one that a crash left will do. */
function makeMountPoint(path: string): void {
  const { O_CREAT, O_WRONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  closeSync(openSync(path, O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0o444));
}

/** What `ip netns` does too: mounts below /run/netns spread to other mount namespaces, whichever came first. */
function shareNamedDirectory(operation: string): void {
  mkdirSync(namedDirectory, { recursive: true, mode: 0o755 });
  if (libc.mount("", namedDirectory, "none", MS_SHARED | MS_REC, null) === 0) return;
  checked(libc.mount(namedDirectory, namedDirectory, "none", MS_BIND | MS_REC, null), operation);
  checked(libc.mount("", namedDirectory, "none", MS_SHARED | MS_REC, null), operation);
}
