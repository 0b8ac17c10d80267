/** Images made of this machine's own files, in the form that `docker save` has and `ctr images import` reads: no registry is asked. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Image {
  /** With a tag other than `latest`, which is fetched each time. */
  readonly name: string;
  readonly archive: string;
}

/** An image whose only layer is the folder `root`. */
export function packImage(
  folder: string,
  name: string,
  root: string,
  config: { readonly Entrypoint?: readonly string[]; readonly Env?: readonly string[] },
): Image {
  const work = mkdtempSync(join(folder, "image-"));
  const layer = join(work, "layer.tar");
  execFileSync("tar", ["--owner=0", "--group=0", "--numeric-owner", "-C", root, "-cf", layer, "."]);
  const settings = JSON.stringify({
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(readFileSync(layer))}`] },
    history: [{ created_by: "tests of weft" }],
  });
  const settingsFile = `${sha256(settings)}.json`;
  writeFileSync(join(work, settingsFile), settings);
  const manifest = [{ Config: settingsFile, RepoTags: [name], Layers: ["layer.tar"] }];
  writeFileSync(join(work, "manifest.json"), JSON.stringify(manifest));
  const archive = `${work}.tar`;
  execFileSync("tar", ["-C", work, "-cf", archive, "manifest.json", settingsFile, "layer.tar"]);
  rmSync(work, { recursive: true });
  return { name, archive };
}

/** What pods run: Debian's busybox-static. Its name also serves as the container that holds a pod's namespaces. */
export function busyboxImage(folder: string): Image {
  const root = join(folder, "busybox");
  for (const name of ["bin", "etc", "tmp", "www"]) mkdirSync(join(root, name), { recursive: true });
  execFileSync("cp", ["/bin/busybox", join(root, "bin/busybox")]);
  for (const name of `${execFileSync("/bin/busybox", ["--list"])}`.trim().split("\n"))
    if (name !== "busybox") symlinkSync("busybox", join(root, "bin", name));
  const config = { Entrypoint: ["/bin/sleep", "infinity"], Env: ["PATH=/bin"] };
  const { name, archive } = packImage(folder, "localhost/busybox:1", root, config);
  rmSync(root, { recursive: true });
  renameSync(archive, join(folder, "busybox.tar"));
  return { name, archive: join(folder, "busybox.tar") };
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
