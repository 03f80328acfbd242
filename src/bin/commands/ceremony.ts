/** `weir ceremony`: makes a gateway's device with both parties, or checks the transcript of one that was made. */
import { existsSync, renameSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { toHex } from "../../base/bytes.ts";
import {
  checkTranscript,
  encodeTranscript,
  parseTranscript,
  proposalDigest,
  resultDigest,
  type Transcript,
} from "../../format/ceremony.ts";
import { addEndorsement, contribute, finish, propose, wholeCeremony } from "../device/ceremony.ts";
import { devicePaths, readDeviceFuses, type UidSpec } from "../device/folder.ts";
import { parseArguments, UsageError, type Arguments } from "../site/arguments.ts";
import { deviceFolder } from "../site/devices.ts";
import { writeAtomic } from "../site/files.ts";
import { readSigningKey, writePublicKeys } from "../site/keys.ts";
import { takeLock } from "../site/lock.ts";
import { dataPaths } from "../site/paths.ts";
import { print, printJson } from "./common.ts";
import { runSubcommand, type Run } from "./subcommands.ts";
import { need, readKey, readNamed, wordOf, writeNew } from "./trust-files.ts";

const help = `Usage: weir ceremony STEP ...

Makes the device of a gateway. Its secret is HKDF of the hardware's own secret and of fresh entropy of both
parties, so none of maker, party A and party B knows it. The transcript is a JSON file that goes from hand to
hand; after each step anybody can check it (spec/ceremony.md).

  propose DIR         1. the device enrols; --gateway NAME --party-a HEX --party-b HEX --manifest FILE --out FILE
                         a simulated PUF, or with --tpm /dev/tpmrm0 --nv-index N --boot-key-a PEM --boot-key-b PEM
  contribute FILE     2. each party: --key SEEDFILE; adds its sealed entropy to the transcript
  finish DIR FILE     3. the device opens both and says which device it now is
  endorse FILE        4. each party, after verify: --key SEEDFILE
  install DIR FILE    5. the device gets the endorsed transcript; from now on it boots
  verify FILE         whether this transcript holds for --party-a HEX --party-b HEX; --json
  renew GATEWAY       all of it for a gateway of a trial site whose device is bricked: --data DIR (default .weir).
                      It is a NEW device: ring, log and state of the old one can never be read again and are put aside
`;

const text = { type: "string" } as const;
const helpFlag = { type: "boolean", short: "h" } as const;

function readTranscript(path: string): Transcript {
  return readNamed(path, "transcript", parseTranscript);
}

/** A step whose command line is parsed with these options and bare words. */
function step(
  options: Parameters<typeof parseArguments>[1],
  words: number,
  run: (args: Arguments) => Promise<void> | void,
): Run {
  return async (argv) => {
    const args = parseArguments(argv, { help: helpFlag, ...options }, words);
    if (args.flag("help")) print(help);
    else await run(args);
    return 0;
  };
}

function uidFrom(args: Arguments): UidSpec {
  const tpm = args.text("tpm");
  if (tpm === undefined) return { kind: "puf" };
  const nvIndex = Number(need(args, "nv-index"));
  if (!(nvIndex >= 0x01000000 && nvIndex <= 0x01ffffff)) {
    throw new UsageError("--nv-index is a number from 0x01000000 to 0x01ffffff");
  }
  const keyOf = (name: string): string => resolve(need(args, name));
  return {
    kind: "tpm",
    tpm,
    nvIndex,
    bootKeyA: keyOf("boot-key-a"),
    bootKeyB: keyOf("boot-key-b"),
  };
}

const proposeStep = step(
  {
    ...{ gateway: text, "party-a": text, "party-b": text, manifest: text, out: text },
    ...{ tpm: text, "nv-index": text, "boot-key-a": text, "boot-key-b": text },
  },
  1,
  async (args) => {
    const dir = resolve(wordOf(args, "the device's folder"));
    const out = resolve(need(args, "out"));
    if (existsSync(out)) throw new InvalidError("file.exists", `${out} is there already`);
    const fuses = {
      device: need(args, "gateway"),
      ...{ partyA: need(args, "party-a"), partyB: need(args, "party-b") },
      manifest: resolve(need(args, "manifest")),
      uid: uidFrom(args),
    };
    const transcript = await propose({ dir, fuses });
    writeNew(out, encodeTranscript(transcript));
    print(`proposal ${toHex(proposalDigest(transcript.proposal))} in ${out}\n`);
  },
);

function rewritten(
  change: (transcript: Transcript, args: Arguments) => Transcript,
  said: string,
): Run {
  return step({ key: text }, 1, (args) => {
    const path = resolve(wordOf(args, "the transcript"));
    writeAtomic(path, encodeTranscript(change(readTranscript(path), args)));
    print(`${said} in ${path}\n`);
  });
}

const finishStep = step({}, 2, async (args) => {
  const [dir, file] = args.words;
  if (dir === undefined || file === undefined)
    throw new UsageError("name the device's folder and the transcript");
  const path = resolve(file);
  const done = await finish(resolve(dir), readTranscript(path));
  writeAtomic(path, encodeTranscript(done));
  print(`identity ${done.result?.identity ?? ""}\nnow both parties verify and endorse ${path}\n`);
});

const installStep = step({}, 2, (args) => {
  const [dir, file] = args.words;
  if (dir === undefined || file === undefined)
    throw new UsageError("name the device's folder and the transcript");
  const paths = devicePaths(resolve(dir));
  const { partyA: a, partyB: b } = readDeviceFuses(paths.fuses);
  const transcript = readTranscript(resolve(file));
  const keys = checkTranscript(transcript, { a, b });
  const own = readTranscript(paths.ceremony);
  if (own.result?.identity !== keys.identity) {
    throw new InvalidError(
      "ceremony.device",
      `${paths.dir} holds another device than this transcript`,
    );
  }
  writeAtomic(paths.ceremony, encodeTranscript(transcript), 0o600);
  print(`the device in ${paths.dir} is complete\n`);
});

const verifyStep = step(
  { "party-a": text, "party-b": text, json: { type: "boolean" } },
  1,
  (args) => {
    const transcript = readTranscript(wordOf(args, "the transcript"));
    const keys = checkTranscript(transcript, {
      a: need(args, "party-a"),
      b: need(args, "party-b"),
    });
    const { gateway, kind, helper } = transcript.proposal;
    const { identity, device, log } = keys;
    const ceremony = toHex(resultDigest(transcript, keys));
    if (args.flag("json")) {
      printJson({ valid: true, gateway, kind, helper, ceremony, identity, device, log });
      return;
    }
    print(
      `valid: both parties contributed to and endorsed this device\n  gateway   ${gateway} (${kind})\n  ceremony  ${ceremony}\n` +
        `  identity  ${identity}\n  device    ${device}\n  log       ${log}\n  helper    ${helper}\n` +
        "It shows which keys came out, not what the hardware did inside: that is what the ceremony's witnesses are for.\n",
    );
  },
);

const renewStep = step({ data: text }, 1, async (args) => {
  const name = wordOf(args, "the gateway");
  const paths = dataPaths(resolve(args.text("data") ?? ".weir"));
  const dir = deviceFolder(paths, name);
  const fuses = readDeviceFuses(devicePaths(dir).fuses);
  const release = takeLock(paths.lock, paths.root);
  try {
    const keys = {
      a: readSigningKey(paths.keys, "boot-a"),
      b: readSigningKey(paths.keys, "boot-b"),
    };
    const transcript = await wholeCeremony({ dir, fuses, replace: true }, keys);
    const data = join(paths.gateways, name);
    const aside = `${data}.of-${toHex(proposalDigest(transcript.proposal)).slice(0, 8)}-before`;
    if (existsSync(data)) renameSync(data, aside);
    const { device, log } = checkTranscript(transcript, { a: fuses.partyA, b: fuses.partyB });
    writePublicKeys(paths.keys, name, { device, log });
    print(`${name} is a new device (ceremony simulated: both keys lie here)\n`);
    if (existsSync(aside)) print(`what the old one kept, unreadable now, is in ${aside}\n`);
  } finally {
    release();
  }
});

/** `weir ceremony`. */
export function runCeremony(argv: string[]): Promise<number> {
  return runSubcommand("ceremony", argv, help, {
    propose: proposeStep,
    contribute: rewritten(
      (transcript, args) => contribute(transcript, readKey(need(args, "key"))),
      "your entropy is",
    ),
    finish: finishStep,
    endorse: rewritten(
      (transcript, args) => addEndorsement(transcript, readKey(need(args, "key"))),
      "your endorsement is",
    ),
    install: installStep,
    verify: verifyStep,
    renew: renewStep,
  });
}
