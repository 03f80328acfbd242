/** The server's end in the upload bench: reads everything, keeps nothing. */
import { Socket } from "node:net";
import { wireOver } from "../src/adapter/link.ts";

const wire = wireOver(new Socket({ fd: 3 }), { role: "gateway", name: "bench" });
wire.onClose(() => process.exit(0));
wire.onFrame(() => undefined);
