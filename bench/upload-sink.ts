/**
 * The server's end in the upload bench, on descriptor 3: reads everything, keeps nothing. It reads
 * into one buffer, for it stands for a server that has cores of its own to spend.
 */
import { Socket } from "node:net";

const into = Buffer.alloc(1_048_576);
const socket = new Socket({ fd: 3, onread: { buffer: into, callback: () => true } });
socket.on("close", () => process.exit(0));
socket.resume();
console.log(JSON.stringify({ port: 0 }));
