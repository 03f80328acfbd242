/** The options of `weir gateway`. */
import type { OptionSpecs } from "./options.ts";
import { gatewayDrawSpecs } from "./draw.ts";
import { expirySpecs, trustSpecs } from "./trust.ts";

export const gatewayHelp =
  "Run one gateway: admit whitelisted weights to its server, then record, release and sample pairs.";

export const gatewaySpecs: OptionSpecs = {
  name: { kind: "text", help: "name, as in its certificate and its tags", required: true },
  listen: { kind: "text", help: "HOST:PORT for router, observers, operators", required: true },
  identity: { kind: "text", help: "folder of gateway-NAME.crt, .key and ca.crt", required: true },
  data: { kind: "text", help: "folder of ring, log, outbox and state", required: true },
  device: {
    kind: "text",
    help: "folder of the device, made by weir ceremony; starts through src/boot/rom.ts only",
  },
  ringKey: {
    kind: "text",
    help: "file of a root key, 64 hex digits, where there is no device; not in --data",
  },
  ...trustSpecs,
  ...expirySpecs,
  model: { kind: "text", help: "model id to serve, from the whitelist", required: true },
  depot: { kind: "text", help: "HOST:PORT of the depot", required: true },
  recomputer: { kind: "text", help: "HOST:PORT of the recomputer", required: true },
  recomputerName: {
    kind: "text",
    help: "the name it must have in its certificate; any if left out",
  },
  shutdownKeys: { kind: "list", help: "public key that may order a shutdown", required: true },
  releaseKeys: { kind: "list", help: "public key that may order a release", required: true },
  epsilon: {
    kind: "number",
    help: "share of pairs sent to the recomputer, 0 to 1",
    required: true,
  },
  witness: { kind: "list", help: "PARTY=VKEY, key of a party's witness; all must cosign the log" },
  ...gatewayDrawSpecs,
  logBacklog: {
    kind: "number",
    help: "entries that not all witnesses have cosigned, before inputs are refused",
    default: 4096,
  },
  checkpointMs: { kind: "number", help: "shortest time between two checkpoints", default: 250 },
  tickMs: { kind: "number", help: "release tick, milliseconds", default: 20 },
  wholeReplies: {
    kind: "flag",
    help: "nothing of a reply leaves before all of it is there: slower to read, and tells less",
  },
  capacity: { kind: "number", help: "pairs that the server works on at once", default: 8 },
  ringBytes: { kind: "number", help: "size of the encrypted ring, bytes", default: 268_435_456 },
  segments: { kind: "number", help: "segment files of the ring", default: 16 },
  outboxPairs: { kind: "number", help: "kept pairs that may wait for a verdict", default: 10_000 },
  pairDeadlineSeconds: { kind: "number", help: "longest life of a pair", default: 600 },
  stallSeconds: { kind: "number", help: "longest silence during an upload", default: 10 },
  eraseBytes: {
    kind: "number",
    help: "memory that a server must prove to be filled with ours, before each upload; 0: none",
    default: 268_435_456,
  },
  eraseRate: {
    kind: "number",
    help: "bytes per second at which a server must MAC that memory; slower is a failed proof",
    default: 50_000_000,
  },
  readySeconds: { kind: "number", help: "time for the engine to load", default: 120 },
  flickerSeconds: {
    kind: "number",
    help: "power-cycle the server after this time; 0: never",
    default: 3600,
  },
  flickerPairs: { kind: "number", help: "power-cycle after so many pairs; 0: never", default: 0 },
  flickerOffsetSeconds: { kind: "number", help: "added before the first power cycle", default: 0 },
  drainSeconds: {
    kind: "number",
    help: "time for open pairs to end before a power cycle",
    default: 60,
  },
  silentSeconds: {
    kind: "number",
    help: "silence of the recomputer that raises an alarm",
    default: 15,
  },
  webhook: { kind: "text", help: "URL that alarms are posted to" },
  power: { kind: "json", help: "how the server is powered (spec/config.md)" },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};
