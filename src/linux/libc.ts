import koffi from "koffi";

/**
 * The C library and libuv of the running process, called through koffi. A call is synchronous, takes about half
 * a microsecond and happens on the thread that makes it, which is what `setns` needs.
 */
const library = koffi.load(null);

export const libc = {
  socket: library.func("int socket(int domain, int type, int protocol)"),
  bind: library.func("int bind(int fd, const void *address, unsigned int length)"),
  getsockname: library.func("int getsockname(int fd, _Out_ void *address, _Inout_ unsigned int *length)"),
  setsockopt: library.func("int setsockopt(int fd, int level, int name, const void *value, unsigned int length)"),
  getsockopt: library.func(
    "int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ unsigned int *length)",
  ),
  send: library.func("intptr_t send(int fd, const void *bytes, size_t length, int flags)"),
  sendto: library.func(
    "intptr_t sendto(int fd, const void *bytes, size_t length, int flags, const void *address, unsigned int addressLength)",
  ),
  recv: library.func("intptr_t recv(int fd, _Out_ void *bytes, size_t length, int flags)"),
  recvfrom: library.func(
    "intptr_t recvfrom(int fd, _Out_ void *bytes, size_t length, int flags, _Out_ void *address, _Inout_ unsigned int *addressLength)",
  ),
  recvmsg: library.func("intptr_t recvmsg(int fd, _Inout_ void *message, int flags)"),
  close: library.func("int close(int fd)"),
  ioctl: library.func("int ioctl(int fd, unsigned long request)"),
  ioctlOn: library.func("int ioctl(int fd, unsigned long request, _Inout_ void *argument)"),
  ioctlWith: library.func("int ioctl(int fd, unsigned long request, unsigned long argument)"),
  setns: library.func("int setns(int fd, int kind)"),
  memfdCreate: library.func("int memfd_create(const char *name, unsigned int flags)"),
  unshare: library.func("int unshare(int flags)"),
  mount: library.func(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)",
  ),
  bpf: library.func("intptr_t syscall(long number, int command, _Inout_ void *attributes, unsigned int size)"),
  umount2: library.func("int umount2(const char *target, int flags)"),
  mmap: library.func("intptr_t mmap(void *address, size_t length, int protection, int flags, int fd, intptr_t offset)"),
  munmap: library.func("int munmap(intptr_t address, size_t length)"),
} as const;

/** A callback's type must be known before the functions that take it. */
const pollCallbackType = koffi.pointer(koffi.proto("void weft_uv_poll_callback(void *handle, int status, int events)"));
const closeCallbackType = koffi.pointer(koffi.proto("void weft_uv_close_callback(void *handle)"));

export const libuv = {
  defaultLoop: library.func("void *uv_default_loop()"),
  handleSize: library.func("size_t uv_handle_size(int type)"),
  pollInit: library.func("int uv_poll_init(void *loop, void *handle, int fd)"),
  pollStart: library.func("uv_poll_start", "int", ["void *", "int", pollCallbackType]),
  pollStop: library.func("int uv_poll_stop(void *handle)"),
  ref: library.func("void uv_ref(void *handle)"),
  unref: library.func("void uv_unref(void *handle)"),
  close: library.func("uv_close", "void", ["void *", closeCallbackType]),
} as const;

export type PollCallback = (handle: unknown, status: number, events: number) => void;

export function registerPollCallback(callback: PollCallback): bigint {
  return koffi.register(callback, pollCallbackType) as bigint;
}

export function registerCloseCallback(callback: (handle: unknown) => void): bigint {
  return koffi.register(callback, closeCallbackType) as bigint;
}

/** Memory that does not move and is freed by {@link freeMemory} alone. */
export function allocateMemory(size: number): unknown {
  return koffi.alloc("uint8_t", size);
}

export function freeMemory(pointer: unknown): void {
  koffi.free(pointer);
}

/** The memory at an address, as it is; nobody may touch it any more when it is no longer there. */
export function viewMemory(address: bigint, length: number): ArrayBuffer {
  return koffi.view(address, length);
}

/** `errno` of the last call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Where the bytes lie, for structures that hold pointers. Valid while the caller keeps `bytes`. */
export function addressOfMemory(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}
