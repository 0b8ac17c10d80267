/** Images made of this machine's own files, in the form that `docker save` has and `ctr images import` reads: no registry is asked. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Pki } from "./pki.ts";
import { program } from "./programs.ts";

export interface Image {
  /** With a tag other than `latest`, which is fetched each time. */
  readonly name: string;
  readonly archive: string;
}

/** An image whose only layer is the folder `root`, which is used up. Of its names the first is told. */
function packImage(
  folder: string,
  names: readonly [string, ...string[]],
  root: string,
  config: { readonly [field in "Entrypoint" | "Cmd" | "Env"]?: readonly string[] },
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
  const manifest = [{ Config: settingsFile, RepoTags: names, Layers: ["layer.tar"] }];
  writeFileSync(join(work, "manifest.json"), JSON.stringify(manifest));
  const archive = `${work}.tar`;
  execFileSync("tar", ["-C", work, "-cf", archive, "manifest.json", settingsFile, "layer.tar"]);
  for (const path of [work, root]) rmSync(path, { recursive: true });
  return { name: names[0], archive };
}

/** What pods run: Debian's busybox-static. It also holds pods' namespaces, as the image `pause` does elsewhere. */
export function busyboxImage(folder: string): Image {
  const root = join(folder, "busybox");
  for (const name of ["etc", "tmp", "www"]) mkdirSync(join(root, name), { recursive: true });
  addBusybox(root);
  const config = { Entrypoint: ["/bin/sleep", "infinity"], Env: ["PATH=/bin"] };
  return packImage(
    folder,
    ["localhost/busybox:1", "docker.io/library/busybox:1.29", "k8s.gcr.io/pause:3.2"],
    root,
    config,
  );
}

/** As deploy/Dockerfile makes it: the package as it is published, and the programs that it rests on, with their libraries. */
export function weftImage(folder: string): Image {
  const root = join(folder, "weft");
  const project = join(import.meta.dirname, "../..");
  const installed = join(root, "opt/weft");
  for (const path of ["bin", "etc", "opt/weft", "proc", "sys", "tmp", "usr/local/bin", "var/lib"])
    mkdirSync(join(root, path), { recursive: true });
  // Namespaces have their names below either.
  mkdirSync(join(root, "run"));
  symlinkSync("/run", join(root, "var/run"));
  const environment = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const npm = (...words: readonly string[]): string =>
    `${execFileSync("npm", words, { cwd: installed, env: environment, stdio: ["ignore", "pipe", "pipe"] })}`;
  const packed = npm("pack", "--silent", "--pack-destination", folder, project).trim().split("\n").at(-1) ?? "";
  const archive = join(folder, packed);
  npm("install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", archive);
  symlinkSync("/opt/weft/node_modules/weft/bin/weft", join(root, "usr/local/bin/weft"));
  copyWithLibraries(process.execPath, root, "/usr/local/bin/node");
  for (const name of ["curl", "nft"]) copyWithLibraries(programInPath(name), root, `/usr/local/bin/${name}`);
  addBusybox(root);
  return packImage(folder, ["localhost/weft:test"], root, { Env: ["PATH=/usr/local/bin:/bin"] });
}

/** What the published cases of conformance run in pods, as far as those of the network need it. */
export async function agnhostImage(folder: string): Promise<Image> {
  const pki = await Pki.make(join(folder, "agnhost-pki"), "");
  await pki.issueServer("localhost", "localhost");
  const root = join(folder, "agnhost");
  for (const name of ["etc", "tmp", "uploads"]) mkdirSync(join(root, name), { recursive: true });
  addBusybox(root);
  // The shell of busybox-static runs its own programs whatever others of their names there are.
  for (const name of ["nc", "sh"]) rmSync(join(root, "bin", name));
  copyWithLibraries(programInPath("dash"), root, "/bin/sh");
  copyWithLibraries(programInPath("nc.openbsd"), root, "/bin/nc");
  copyWithLibraries(programInPath("curl"), root, "/bin/curl");
  execFileSync("cp", [program("agnhost"), join(root, "agnhost")]);
  // What it serves HTTPS with; nobody asks who that is.
  execFileSync("cp", [pki.certificateOf("localhost"), join(root, "localhost.crt")]);
  execFileSync("cp", [pki.keyOf("localhost"), join(root, "localhost.key")]);
  const config = { Entrypoint: ["/agnhost"], Cmd: ["pause"], Env: ["PATH=/bin"] };
  return packImage(folder, ["k8s.gcr.io/e2e-test-images/agnhost:2.21"], root, config);
}

/** Its shared libraries go to where it looks for them. */
function copyWithLibraries(path: string, root: string, target: string): void {
  const libraries = `${execFileSync("ldd", [path])}`.matchAll(/(\/\S+) \(0x/g);
  for (const [from, to] of [
    [path, target] as const,
    ...[...libraries].map(([, library = ""]) => [library, library] as const),
  ]) {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    execFileSync("cp", ["--dereference", from, join(root, to)]);
  }
}

function programInPath(name: string): string {
  const found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map((folder) => join(folder, name)).find(existsSync);
  if (found === undefined) throw new Error(`${name} is not installed`);
  return found;
}

function addBusybox(root: string): void {
  mkdirSync(join(root, "bin"), { recursive: true });
  execFileSync("cp", ["/bin/busybox", join(root, "bin/busybox")]);
  for (const name of `${execFileSync("/bin/busybox", ["--list"])}`.trim().split("\n"))
    if (name !== "busybox") symlinkSync("busybox", join(root, "bin", name));
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
