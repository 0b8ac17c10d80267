import { Command } from "commander";
import { registerAgent } from "./commands/agent.ts";
import { registerAttach } from "./commands/attach.ts";
import { registerCapture } from "./commands/capture.ts";
import { registerCni } from "./commands/cni.ts";
import { registerCompletion } from "./commands/completion.ts";
import { registerDocker } from "./commands/docker.ts";
import { registerDoctor } from "./commands/doctor.ts";
import { registerEndpoint } from "./commands/endpoint.ts";
import { registerEvents } from "./commands/events.ts";
import { registerFloatingAddress } from "./commands/floating-address.ts";
import { registerKubernetes } from "./commands/kubernetes.ts";
import { registerLab } from "./commands/lab.ts";
import { registerManifest } from "./commands/manifest.ts";
import { registerMigrate } from "./commands/migrate.ts";
import { registerNetwork } from "./commands/network.ts";
import { registerNode } from "./commands/node.ts";
import { registerPolicy } from "./commands/policy.ts";
import { registerServer } from "./commands/server.ts";
import { registerStatus } from "./commands/status.ts";
import { registerTables } from "./commands/tables.ts";
import { registerTenant } from "./commands/tenant.ts";
import { registerToken } from "./commands/token.ts";
import { registerTrace } from "./commands/trace.ts";
import { registerVersion } from "./commands/version.ts";

/**
 * The command line as a tree of commands. What a command needs beyond the command line it imports when it runs, so
 * that help and completion are quick.
 */
export function createProgram(): Command {
  const program = new Command("weft")
    .description("An overlay network for Linux.")
    .configureHelp({ showGlobalOptions: false })
    // Errors are thrown, and printed in one place; commander's own would be printed twice.
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .helpCommand(false)
    // What follows `lab run PLACE` belongs to the command that is run.
    .enablePositionalOptions();
  program.commandsGroup("Run:");
  registerServer(program);
  registerAgent(program);
  registerKubernetes(program);
  program.commandsGroup("Administer (asks the server):");
  registerToken(program);
  registerTenant(program);
  registerNetwork(program);
  registerPolicy(program);
  registerNode(program);
  registerEndpoint(program);
  registerFloatingAddress(program);
  registerManifest(program);
  program.commandsGroup("On a node (asks its agent):");
  registerAttach(program);
  registerMigrate(program);
  registerStatus(program);
  registerEvents(program);
  registerTables(program);
  registerCni(program);
  registerDocker(program);
  program.commandsGroup("Find out what is wrong:");
  registerDoctor(program);
  registerTrace(program);
  registerCapture(program);
  program.commandsGroup("Learn and try:");
  registerLab(program);
  program.commandsGroup("Other:");
  registerCompletion(program);
  registerVersion(program);
  return program;
}
