import { X509Certificate } from "node:crypto";
import { parseNodeName } from "../model/names.ts";

/** Who a node is, by its certificate. */
export interface NodeIdentity {
  readonly name: string;
  /** Of the certificate; writes nothing when the node has joined again since. */
  readonly generation: number;
}

/** The URI that names a node in its certificate's subject alternative name: `weft://node/NAME/GENERATION`. */
export function nodeUri(identity: NodeIdentity): string {
  return `weft://node/${identity.name}/${identity.generation}`;
}

/** The node that a certificate is for; `undefined`: it is for none. Its signature must have been verified, or be one's own. */
export function nodeOfCertificate(certificate: X509Certificate): NodeIdentity | undefined {
  const match = /^URI:weft:\/\/node\/([a-z0-9.-]+)\/(\d{1,10})$/.exec(certificate.subjectAltName ?? "");
  if (match === null || !parseNodeName(match[1] as string).ok) return undefined;
  return { name: match[1] as string, generation: Number(match[2]) };
}

/** As {@link nodeOfCertificate}, of PEM that may be damaged. */
export function nodeOfCertificateText(pem: string): NodeIdentity | undefined {
  try {
    return nodeOfCertificate(new X509Certificate(pem));
  } catch {
    return undefined;
  }
}
