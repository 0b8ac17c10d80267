import { SystemError } from "../linux/index.ts";
import { AttributeSchema, string, u32 } from "./attribute.ts";
import { type MessageHeader, messageHeaderLength, NLM_F_ACK_TLVS, NLM_F_CAPPED } from "./message.ts";

/** linux/netlink.h: `enum nlmsgerr_attrs`. */
const extendedAcknowledgement = new AttributeSchema("nlmsgerr", {
  /** The kernel's words. */
  message: string(1),
  /** Where in the request the offending attribute starts, counted from its message header. */
  offset: u32(2),
  missingType: u32(5),
});

export interface Acknowledgement {
  /** 0: done. */
  readonly errno: number;
  readonly kernelMessage: string | undefined;
}

/** Reads an NLMSG_ERROR message, which is also how success is told, or the error code of NLMSG_DONE. */
export function readAcknowledgement(bytes: Uint8Array, view: DataView, header: MessageHeader): Acknowledgement {
  if (header.start + 4 > header.end) return { errno: 0, kernelMessage: undefined };
  const errno = -view.getInt32(header.start, true);
  let kernelMessage: string | undefined;
  if ((header.flags & NLM_F_ACK_TLVS) !== 0) {
    // The request is quoted, its header alone if the answer is capped; the attributes follow.
    const quoted =
      header.start + 4 + messageHeaderLength > header.end
        ? header.end
        : header.start +
          4 +
          ((header.flags & NLM_F_CAPPED) !== 0
            ? messageHeaderLength
            : (view.getUint32(header.start + 4, true) + 3) & ~3);
    if (quoted < header.end) {
      const values = extendedAcknowledgement.read(bytes, view, quoted, header.end);
      if (values.message !== undefined) {
        kernelMessage = values.message;
        if (values.offset !== undefined) kernelMessage += ` (attribute at octet ${values.offset} of the request)`;
      } else if (values.missingType !== undefined) kernelMessage = `attribute ${values.missingType} is missing`;
    }
  }
  return { errno, kernelMessage };
}

export function acknowledgementError(operation: string, acknowledgement: Acknowledgement): SystemError {
  return new SystemError({ operation, errno: acknowledgement.errno, kernelMessage: acknowledgement.kernelMessage });
}
