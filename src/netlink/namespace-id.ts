import { isErrno } from "../linux/index.ts";
import { AttributeSchema, s32, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import type { Query, Request } from "./request.ts";
import type { NetlinkSocket } from "./socket.ts";

/** linux/rtnetlink.h */
const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
const AF_UNSPEC = 0;
/** linux/net_namespace.h: the kernel chooses the number, or has none. */
const NETNSA_NSID_NOT_ASSIGNED = -1;

/** linux/rtnetlink.h: `struct rtgenmsg`. */
const header = new FixedHeader("rtgenmsg", [
  ["family", "u8"],
  ["pad", "pad8"],
  ["pad2", "pad16"],
]);

/** linux/net_namespace.h: `NETNSA_*`. */
const schema = new AttributeSchema("NETNSA", { id: s32(1), descriptor: u32(3) });

/** A namespace that a request names: an open descriptor of it, and how people know it. */
export interface NamespaceReference {
  readonly fd: number;
  readonly label: string;
}

/** The id that the socket's namespace has for another; -1: none yet. */
function getNamespaceId(namespace: NamespaceReference): Query<number> {
  return {
    type: RTM_GETNSID,
    flags: 0,
    describe: () => `look up the id of namespace ${namespace.label}`,
    write: (writer) => {
      header.write(writer, { family: AF_UNSPEC });
      schema.write(writer, { descriptor: namespace.fd });
    },
    read: (bytes, view, start, end) => schema.read(bytes, view, start + header.length, end).id,
  };
}

function assignNamespaceId(namespace: NamespaceReference): Request {
  return {
    type: RTM_NEWNSID,
    flags: 0,
    describe: () => `give namespace ${namespace.label} an id`,
    write: (writer) => {
      header.write(writer, { family: AF_UNSPEC });
      schema.write(writer, { descriptor: namespace.fd, id: NETNSA_NSID_NOT_ASSIGNED });
    },
  };
}

/**
 * The id by which the socket's namespace knows another, given to it now if it has none. It stays as long as both live.
 * The kernel gives ids also by itself, to namespaces that a device of this one leads to.
 */
export async function namespaceIdOf(socket: NetlinkSocket, namespace: NamespaceReference): Promise<number> {
  const known = await socket.get(getNamespaceId(namespace));
  if (known !== NETNSA_NSID_NOT_ASSIGNED) return known;
  await socket.execute(assignNamespaceId(namespace)).catch((error: unknown) => {
    if (!isErrno(error, "EEXIST")) throw error;
  });
  return socket.get(getNamespaceId(namespace));
}
