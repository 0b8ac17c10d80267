/**
 * Asks an API server on which node the pods are whose tokens are shown, as weft's server does, on the machine that it is started on; a line for each.
 *
 *     vouch.ts KUBECONFIG NAMESPACE ACCOUNT [TOKEN…]
 */
import { systemClock } from "../../src/base/clock.ts";
import { messageOf } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { accessByKubeconfig } from "../../src/plugins/kubernetes/api/access.ts";
import { ApiClient } from "../../src/plugins/kubernetes/api/client.ts";
import { PodVoucher } from "../../src/plugins/kubernetes/pod-voucher.ts";

const [kubeconfig = "", namespace = "", name = "", ...tokens] = process.argv.slice(2);
const client = new ApiClient(await accessByKubeconfig(kubeconfig));
const voucher = new PodVoucher({
  ...{ client, account: { namespace, name }, clock: systemClock, logger: silentLogger },
});
for (const token of tokens) console.log(await voucher.nodeOf(token).catch(messageOf));
await voucher.announce("somebody", new AbortController().signal);
client.close();
