/** Ways to a TPM: the kernel's resource manager (/dev/tpmrm0), and TCP to a software TPM in tests. */
import { open } from "node:fs/promises";
import { connect } from "node:net";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { responseLength, responseMax } from "./wire.ts";

/** One command at a time: bytes out, the whole response back. */
export interface TpmStream {
  transmit(command: Uint8Array): Promise<Buffer>;
  close(): Promise<void>;
}

function unavailable(why: unknown, effect: "none" | "unknown"): UnavailableError {
  const text = why instanceof Error ? why.message : String(why);
  return new UnavailableError("uid.tpm", `the TPM does not answer: ${text}`, effect);
}

/** A hardware TPM. Throws UnavailableError `uid.tpm` when it cannot be opened. */
export async function openTpmDevice(path: string): Promise<TpmStream> {
  const file = await open(path, "r+").catch((error: unknown) => {
    throw unavailable(error, "none");
  });
  return {
    async transmit(command) {
      try {
        await file.write(command);
        const into = Buffer.alloc(responseMax);
        const { bytesRead } = await file.read(into, 0, into.length, null);
        return into.subarray(0, bytesRead);
      } catch (error) {
        throw unavailable(error, "unknown");
      }
    },
    close: () => file.close(),
  };
}

const timeoutMs = 30_000;

/** A TPM behind TCP: commands and responses as they are, no framing. Throws UnavailableError `uid.tpm`. */
export async function connectTpm(host: string, port: number): Promise<TpmStream> {
  const socket = connect({ host, port });
  let received = Buffer.alloc(0);
  let wake: () => void = () => undefined;
  let failed: Error | null = null;
  const end = (error: Error): void => {
    failed ??= error;
    wake();
  };
  socket.setTimeout(timeoutMs, () => {
    end(new Error("timed out"));
  });
  socket.on("error", end);
  socket.on("close", () => {
    end(new Error("connection closed"));
  });
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    wake();
  });
  const opened = Promise.withResolvers<undefined>();
  socket.once("connect", () => {
    opened.resolve(undefined);
  });
  wake = () => {
    if (failed !== null) opened.reject(unavailable(failed, "none"));
  };
  await opened.promise;
  const more = async (): Promise<void> => {
    if (failed !== null) throw unavailable(failed, "unknown");
    await new Promise<void>((resolve) => (wake = resolve));
  };
  return {
    async transmit(command) {
      if (failed !== null) throw unavailable(failed, "none");
      received = Buffer.alloc(0);
      socket.write(command);
      while (received.length < 10) await more();
      const length = responseLength(received);
      while (received.length < length) await more();
      if (received.length === length) return received;
      throw new InvalidError("tpm.length", "a TPM sent more than one response");
    },
    close: () =>
      new Promise((resolve) => {
        if (socket.closed) resolve();
        else socket.once("close", () => resolve()).destroy();
      }),
  };
}
