/** What the first stage hands to the gateway through its pipe (boot/rom.ts#handover), read and taken apart. */
import { readSync } from "node:fs";
import type { KeyObject } from "node:crypto";
import { Socket } from "node:net";
import { InvalidError } from "../../base/assert.ts";
import { decodeUtf8 } from "../../base/bytes.ts";
import { secretKey } from "../../base/hash.ts";
import { diceKey } from "../../boot/dice.ts";
import { Fields, parseJson } from "../../format/json.ts";

export interface BootInfo {
  readonly device: string;
  readonly uid: string;
  readonly simulated: string;
  /** Digest of the ceremony's result, hex; "" for a root key in a file. */
  readonly ceremony: string;
  /** SHA-256 of the boot manifest's payload, hex. */
  readonly measurement: string;
  readonly manifestVersion: number;
  /** Of the TPM, decimal; "" without one. */
  readonly counter: string;
  /** Identity key of the first stage, the key of this stage, and the former's certificate of the latter; hex. */
  readonly identity: string;
  readonly subject: string;
  readonly certificate: string;
}

export interface Handover {
  readonly rootKey: KeyObject;
  /** Ed25519; its public half is `info.subject`. */
  readonly attestKey: KeyObject;
  readonly info: BootInfo;
}

const handoverMax = 65_536;

/** Parses what followed the length, and erases it. Throws InvalidError `boot.handover` or `json.*`. */
export function parseHandover(bytes: Buffer): Handover {
  if (bytes.length < 66)
    throw new InvalidError("boot.handover", "the first stage handed over too little");
  const rootKey = secretKey(bytes.subarray(0, 32));
  const attestKey = diceKey(bytes.subarray(32, 64));
  const fields = new Fields(parseJson(decodeUtf8(bytes.subarray(64))), "handover");
  bytes.fill(0);
  const info = {
    device: fields.text("device"),
    uid: fields.text("uid"),
    simulated: fields.text("simulated"),
    ceremony: fields.text("ceremony"),
    measurement: fields.text("measurement"),
    manifestVersion: fields.integer("manifestVersion", 1, 999_999_999),
    counter: fields.text("counter"),
    identity: fields.text("identity"),
    subject: fields.text("subject"),
    certificate: fields.text("certificate"),
  };
  fields.end();
  return { rootKey, attestKey, info };
}

function readFully(fd: number, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count;) {
    const read = readSync(fd, bytes, at, count - at, null);
    if (read === 0) throw new InvalidError("boot.handover", "the first stage ended too early");
    at += read;
  }
  return bytes;
}

/** Reads the pipe `fd` that the first stage holds. Throws InvalidError `boot.handover`. */
export function readHandover(fd: number): Handover {
  const length = readFully(fd, 4).readUInt32BE();
  if (length > handoverMax)
    throw new InvalidError("boot.handover", "the first stage handed over too much");
  return parseHandover(readFully(fd, length));
}

/** Dies at once when the first stage does, whose end of the pipe closes with it. Does not keep the process alive. */
export function dieWithFirstStage(fd: number): void {
  const pipe = new Socket({ fd, readable: true, writable: false });
  const die = (): void => {
    process.kill(process.pid, "SIGKILL");
  };
  pipe.on("end", die);
  pipe.on("error", die);
  pipe.resume();
  pipe.unref();
}
