import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

/** An archive of a root folder with Debian's busybox-static, for engines to import; its path. */
export function busyboxRoot(folder: string): string {
  const root = join(folder, "busybox");
  mkdirSync(join(root, "bin"), { recursive: true });
  for (const name of ["dev", "etc", "proc", "sys", "tmp"]) mkdirSync(join(root, name), { recursive: true });
  execFileSync("cp", ["/bin/busybox", join(root, "bin")]);
  const names = ["cat", "echo", "ip", "httpd", "ping", "sh", "sleep"];
  for (const name of names) execFileSync("ln", ["-sf", "busybox", join(root, "bin", name)]);
  const archive = join(folder, "busybox.tar");
  execFileSync("tar", ["-C", root, "-cf", archive, "."]);
  return archive;
}
