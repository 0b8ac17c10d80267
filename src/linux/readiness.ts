import { allocateMemory, freeMemory, libuv, registerCloseCallback, registerPollCallback } from "./libc.ts";
import { SystemError } from "./system-error.ts";

/** `uv_handle_type` of a poll handle. uv.h. */
const UV_POLL = 8;
const UV_READABLE = 1;

const actions = new Map<unknown, () => void>();
let pollCallback: bigint | undefined;
let closeCallback: bigint | undefined;

/**
 * Runs the action of a handle. libuv stops a handle that reports an error (EPOLLERR), as a netlink socket does once
 * after it lost messages; reading clears that, so the handle is started again.
 */
function run(handle: unknown, status: number): void {
  try {
    actions.get(handle)?.();
  } finally {
    if (status < 0 && actions.has(handle)) libuv.pollStart(handle, UV_READABLE, pollCallback);
  }
}

/** Ends a watch; calling it again does nothing. */
export type StopWatching = () => void;

/**
 * Calls `onReadable` from the event loop whenever `fd` has something to read, without a thread: the event loop's
 * own poll set watches the descriptor. Level-triggered: what is left unread is reported again. The watch must be
 * stopped before `fd` is closed. Main thread only, whose loop is libuv's default loop. It keeps the process alive
 * only if `keepAlive`.
 */
export function watchReadable(fd: number, onReadable: () => void, keepAlive = false): StopWatching {
  // Node knows nothing of this callback: what it throws and the promises that it settles would wait for whatever
  // Node does next, which can be long. Immediates are Node's own and run in this same turn of the event loop.
  pollCallback ??= registerPollCallback((handle, status) => setImmediate(run, handle, status));
  closeCallback ??= registerCloseCallback((handle) => freeMemory(handle));
  const handle = allocateMemory(Number(libuv.handleSize(UV_POLL))) as bigint;
  const initialised = libuv.pollInit(libuv.defaultLoop(), handle, fd) as number;
  if (initialised !== 0) {
    freeMemory(handle);
    throw new SystemError({ operation: `watch descriptor ${fd}`, errno: -initialised });
  }
  actions.set(handle, onReadable);
  const started = libuv.pollStart(handle, UV_READABLE, pollCallback) as number;
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    actions.delete(handle);
    libuv.pollStop(handle);
    libuv.close(handle, closeCallback);
  };
  if (started !== 0) {
    stop();
    throw new SystemError({ operation: `watch descriptor ${fd}`, errno: -started });
  }
  if (!keepAlive) libuv.unref(handle);
  return stop;
}
