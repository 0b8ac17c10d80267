/**
 * Debian's cloud-init, run by hand where an endpoint is: its own data source finds the node, and its own renderers read what that says.
 * It is unpacked and not installed, because it would configure this machine when that starts again.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import { createNetworks, idle, testDirectory, testLab, theWholeFile, weftJson } from "../support/cluster.ts";

const owner = theWholeFile();
const directory = testDirectory(owner);
const unpacked = await runProgram(undefined, "sh", [
  "-ec",
  `cd ${directory}; apt-get download cloud-init >&2; dpkg-deb -x cloud-init_*.deb root`,
]);
assert.equal(unpacked.status, 0, unpacked.complaints);

const lab = await testLab(owner, { hosts: 1 });
await createNetworks(lab, [
  {
    ...{ name: "web", subnets: ["10.1.0.0/24", "fd01::/64"], gateway: "distributed" },
    dhcp: { dns: ["10.1.0.53"], metadata: true },
  },
]);
lab.addContainer("c");
const userData = "#cloud-config\npackages: [nginx]\n";
writeFileSync(join(directory, "user-data"), userData);
const { endpoint } = await weftJson([
  ...["attach", "web", "--netns", lab.names.container("c"), "--label", "hostname=web-1"],
  ...["--user-data", join(directory, "user-data"), "--agent", lab.agentSocket("h1")],
]);
await idle(lab, "h1");

/** Tells what the data source found, and what becomes of the network's configuration in two of the ways that there are. */
const program = `
import json, sys
from cloudinit import distros, helpers, url_helper, util
from cloudinit.net import eni, netplan, network_state
from cloudinit.sources import DataSourceNoCloud
paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]})
source = DataSourceNoCloud.DataSourceNoCloudNet({}, distros.fetch("debian")("debian", {}, paths), paths)
assert source.get_data(), "not found"
configuration = util.load_yaml(url_helper.read_file_or_url("http://169.254.169.254/network-config").contents)
state = network_state.parse_net_config_data(configuration)
print(json.dumps({
    "instance": source.get_instance_id(),
    "name": source.get_hostname().hostname,
    "userData": source.get_userdata_raw().decode(),
    "vendorData": source.get_vendordata_raw().decode(),
    "netplan": util.load_yaml(netplan.Renderer()._render_content(state)),
    "eni": eni.Renderer()._render_interfaces(state),
}))
`;

test("cloud-init finds its data source on the node: who it is, user data, and its network card", async () => {
  const script = join(directory, "ask.py");
  writeFileSync(script, program);
  using namespace = lab.namespace("c");
  const { status, output, complaints } = await runProgram(namespace, "env", [
    `PYTHONPATH=${directory}/root/usr/lib/python3/dist-packages`,
    // As cloud-init itself lets its command line of the kernel be another.
    "DEBUG_PROC_CMDLINE=ds=nocloud-net;s=http://169.254.169.254/",
    ...["/usr/bin/python3", script, directory],
  ]);
  assert.equal(status, 0, complaints);
  const { eni, netplan, ...found } = JSON.parse(output);
  assert.deepEqual(found, { instance: endpoint.id, name: "web-1", userData, vendorData: "" });
  assert.deepEqual(netplan.network, {
    version: 2,
    ethernets: {
      eth0: { match: { macaddress: endpoint.mac }, "set-name": "eth0", mtu: 1450, dhcp4: true, dhcp6: true },
    },
  });
  assert.match(eni, /^iface eth0 inet dhcp\n/m);
});
