import { closeSync, writeFileSync } from "node:fs";
import { checked } from "./descriptor.ts";
import { libc } from "./libc.ts";

/** sys/mman.h */
const MFD_CLOEXEC = 1;

/**
 * A descriptor of a file in memory that holds the text: it is on no file system, so that none can be full, and has no
 * path that others could reach. A program that gets it as its standard input may open it anew from the beginning
 * (memfd_create(2)). The caller closes it.
 */
export function memoryFile(name: string, text: string): number {
  const fd = checked(libc.memfdCreate(name, MFD_CLOEXEC), `make a file in memory for ${name}`);
  try {
    writeFileSync(`/proc/self/fd/${fd}`, text);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}
