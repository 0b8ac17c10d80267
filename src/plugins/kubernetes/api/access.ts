import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { messageOf, WeftError } from "../../../base/errors.ts";

/** Where an API server is, and how it and this program prove who they are. */
export interface ApiAccess {
  readonly url: URL;
  /** PEM. Absent: the authorities that the system trusts. */
  readonly ca?: string;
  readonly certificate?: string;
  readonly privateKey?: string;
  /** The name in the server's certificate. Absent: that of the URL. */
  readonly serverName?: string;
  /** As it is now: those of service accounts are renewed. Absent: it proves itself by its certificate. */
  readonly token?: () => Promise<string>;
}

const accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** That of a pod, by its service account. Throws {@link WeftError} when this runs in none. */
export async function accessInCluster(
  environment: Readonly<Record<string, string | undefined>>,
  directory = accountDirectory,
): Promise<ApiAccess> {
  const attempted = "find the API server of the cluster that this runs in";
  const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "" } = environment;
  if (host === "" || port === "")
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in every pod",
      hint: "name a kubeconfig: --kubeconfig FILE",
    });
  const token = resolve(directory, "token");
  return {
    url: new URL(`https://${host.includes(":") ? `[${host}]` : host}:${port}`),
    ca: await readText(resolve(directory, "ca.crt"), attempted),
    token: async () => (await readText(token, attempted)).trim(),
  };
}

const named = <Of extends string, Shape extends z.ZodType>(of: Of, shape: Shape) =>
  z.object({ name: z.string(), [of]: shape } as { name: z.ZodString } & Record<Of, Shape>);
const kubeconfigSchema = z.object({
  "current-context": z.string(),
  contexts: z.array(named("context", z.object({ cluster: z.string(), user: z.string() }))),
  clusters: z.array(
    named(
      "cluster",
      z.object({
        server: z.string(),
        "certificate-authority": z.string().optional(),
        "certificate-authority-data": z.string().optional(),
        "tls-server-name": z.string().optional(),
        "insecure-skip-tls-verify": z.boolean().optional(),
      }),
    ),
  ),
  users: z.array(
    named(
      "user",
      z.looseObject({
        "client-certificate": z.string().optional(),
        "client-certificate-data": z.string().optional(),
        "client-key": z.string().optional(),
        "client-key-data": z.string().optional(),
        token: z.string().optional(),
        tokenFile: z.string().optional(),
      }),
    ),
  ),
});

/** That of the current context of a kubeconfig. Throws {@link WeftError} when it has none that can be used. */
export async function accessByKubeconfig(file: string): Promise<ApiAccess> {
  const attempted = `read the kubeconfig ${file}`;
  const refuse = (reason: string, hint?: string): never => {
    throw new WeftError({ code: "invalid-argument", attempted, reason, ...(hint === undefined ? {} : { hint }) });
  };
  const read = kubeconfigSchema.safeParse(yamlOf(await readText(file, attempted), attempted));
  if (!read.success)
    return refuse(read.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "));
  const { "current-context": current, contexts, clusters, users } = read.data;
  const context = contexts.find(({ name }) => name === current)?.context ?? refuse(`there is no context ${current}`);
  const cluster =
    clusters.find(({ name }) => name === context.cluster)?.cluster ?? refuse(`there is no cluster ${context.cluster}`);
  const user = users.find(({ name }) => name === context.user)?.user ?? refuse(`there is no user ${context.user}`);
  if (cluster["insecure-skip-tls-verify"] === true)
    refuse("insecure-skip-tls-verify: anybody could be that API server", "give its authority: certificate-authority");
  const url = URL.parse(cluster.server);
  if (url?.protocol !== "https:") return refuse(`server: found "${cluster.server}"; allowed: https://ADDRESS:PORT`);
  const helper = ["exec", "auth-provider", "username"].find((each) => user[each] !== undefined);
  if (helper !== undefined)
    refuse(`user ${context.user} proves itself by ${helper}, which weft does not know`, "use a certificate or a token");
  const pemOf = async (path: string | undefined, data: string | undefined): Promise<string | undefined> =>
    data !== undefined
      ? Buffer.from(data, "base64").toString()
      : path === undefined
        ? undefined
        : readText(resolve(dirname(file), path), attempted);
  const [ca, certificate, privateKey] = await Promise.all([
    pemOf(cluster["certificate-authority"], cluster["certificate-authority-data"]),
    pemOf(user["client-certificate"], user["client-certificate-data"]),
    pemOf(user["client-key"], user["client-key-data"]),
  ]);
  const { token, tokenFile } = user;
  const tokenPath = tokenFile === undefined ? undefined : resolve(dirname(file), tokenFile);
  const serverName = cluster["tls-server-name"];
  return {
    url,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { certificate }),
    ...(privateKey === undefined ? {} : { privateKey }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(tokenPath !== undefined
      ? { token: async () => (await readText(tokenPath, attempted)).trim() }
      : token !== undefined
        ? { token: async () => token }
        : {}),
  };
}

function yamlOf(text: string, attempted: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new WeftError({ code: "invalid-argument", attempted, reason: messageOf(error), cause: error });
  }
}

async function readText(file: string, attempted: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw new WeftError({ code: "failed-precondition", attempted, reason: messageOf(error), cause: error });
  });
}
