/**
 * Every limit of the house, in one place, with the relations between them asserted at load.
 * Sizes are bytes and times are milliseconds unless the name says otherwise.
 */
import { assert } from "./assert.ts";

export const limits = {
  /** Longest payload of a frame on any link (spec/link.md). One weights chunk must fit. */
  framePayload: 4_194_304,
  /** Weights travel in chunks of this size; the last may be shorter. */
  weightsChunk: 1_048_576,
  /** Chunks of a model: 2^20 chunks of 1 MiB is 1 TiB. */
  weightsChunks: 1_048_576,
  /** Depth of the chunk tree that `weightsChunks` gives. */
  chunkProof: 20,
  /** Keys, and operators, of one party in the trust root. */
  partyKeys: 8,
  /** Versions of a trust root, all of which a root file holds, and its size. */
  rootVersions: 1024,
  rootChainBytes: 4_194_304,
  /** Entries of a whitelist, and its size. */
  whitelistEntries: 256,
  whitelistBytes: 1_048_576,
  /** Largest encoded input (messages or prompt). */
  input: 524_288,
  /** Messages in a chat. */
  messages: 1024,
  /** Stop strings of a request and the length of each. */
  stops: 4,
  stopBytes: 128,
  /** Tokens in a prompt or an output. */
  tokens: 131_072,
  /** Text bytes of an output. */
  outputText: 1_048_576,
  /** Tokens in one TOKENS frame. */
  tokensPerFrame: 4096,
  /** Ids of models, gateways and hosts. */
  name: 128,
  /** Body of an HTTP request at the router. */
  httpBody: 524_288,
  /** Time for a client to deliver its body and its headers. */
  httpBodyMs: 15_000,
  httpHeadersMs: 10_000,
  /** All headers of an HTTP request together. */
  httpHeaders: 16_384,
  /** Open HTTP connections at the router. */
  httpConnections: 12_000,
  /** An idle HTTP connection is kept this long: longer than proxies and clients keep theirs. */
  httpKeepAliveMs: 75_000,
  /** Requests that may wait on one HTTP connection behind the one being answered. */
  httpPipelined: 8,
  /** Request bodies, and unread replies, that the router holds for all clients together. */
  httpBodiesTotal: 268_435_456,
  httpBacklogTotal: 268_435_456,
  /** A client that reads nothing of its reply for this long is cut off. */
  httpStallMs: 60_000,
  /** Requests that wait in the router or run behind it. */
  routerInflight: 4096,
  /** How long a request waits in the router for a gateway that serves its model. */
  routerQueueMs: 5000,
  /** How many gateways a request may be sent to, one after the other, when servers fail it. */
  routerAttempts: 3,
  /** Requests that one gateway holds at once. */
  gatewayInflight: 1024,
  /** Unread reply bytes that a slow client may leave in the router before it is cut off. */
  clientBacklog: 4_194_304,
  /** A signed note, the signatures on it, and the name of a key. */
  note: 16_384,
  noteSignatures: 64,
  noteName: 256,
  /** Log entries in one LOG_LEAVES frame. */
  logEntries: 8192,
  /** Consistency proof lines of add-checkpoint (C2SP tlog-witness). */
  consistencyProof: 63,
  /** Signed orders and other JSON that crosses a link. */
  orderBytes: 65_536,
  statusBytes: 1_048_576,
} as const;

assert(limits.weightsChunk + 32 * limits.chunkProof + 64 <= limits.framePayload, "a chunk fits");
assert(limits.input + 4096 <= limits.framePayload, "an input fits a frame");
assert(2 ** limits.chunkProof >= limits.weightsChunks, "the chunk tree is deep enough");
assert(
  limits.input + limits.outputText + 8 * limits.tokens + 8192 <= limits.framePayload,
  "a whole pair fits a frame",
);
assert(limits.statusBytes <= limits.framePayload, "a status fits a frame");
