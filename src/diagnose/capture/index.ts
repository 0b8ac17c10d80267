/** Packets of this node's networks, live: where they are, what they are, and a file of them. */
export { type Capture, openCapture } from "./capture.ts";
export { CaptureFile } from "./capture-file.ts";
export { type CapturedPacket, type PointKind, placeName, type SourceCounts } from "./packet.ts";
export { Reader, type Reading } from "./reading.ts";
