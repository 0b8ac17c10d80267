import { lastErrno, libc } from "./libc.ts";
import { SystemError } from "./system-error.ts";

/** The result of a system call that returns -1 on failure. */
export function checked(result: unknown, operation: string): number {
  const value = Number(result);
  if (value < 0) throw new SystemError({ operation, errno: lastErrno() });
  return value;
}

export function closeDescriptor(fd: number): void {
  libc.close(fd);
}
