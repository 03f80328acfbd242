/**
 * Traps of Node and of JavaScript that have let attackers in elsewhere: forms that may not stand in src/, and
 * for each trap a test that it is one. A file that is let off has its reason beside it.
 */
import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fromHex } from "../src/base/bytes.ts";
import { parseJson } from "../src/format/json.ts";

interface Source {
  readonly path: string;
  readonly text: string;
}

const sources: readonly Source[] = globSync("src/**/*.ts")
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => !path.endsWith(".test.ts") && !path.startsWith("src/dashboard/web/"))
  .map((path) => ({
    path,
    text: readFileSync(path, "utf8").replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, ""),
  }));

/** Rooms that hold keys, or judge what others say. */
const trusted = /^src\/(?:base|format|gateway|log|boot|depot|recomputer|alarm|adapter\/disk)\//;

/** The text of each call of `name` in a file, with its arguments. */
function callsOf(
  { text }: Source,
  name: string,
): { readonly call: string; readonly after: string }[] {
  return [...text.matchAll(new RegExp(`\\b${name}\\(`, "g"))].map(({ index }) => {
    let at = index + name.length + 1;
    for (let depth = 1; depth > 0 && at < text.length; at++) {
      if (text[at] === "(") depth++;
      else if (text[at] === ")") depth--;
    }
    return { call: text.slice(index, at), after: text.slice(at) };
  });
}

/** Where a form stands although it may not: path and what stands there. */
function offenders(
  form: RegExp,
  letOff: Readonly<Record<string, string>>,
  where: RegExp = trusted,
): string[] {
  return sources
    .filter(({ path }) => where.test(path) && !(path in letOff))
    .flatMap(({ path, text }) => [...text.matchAll(form)].map(([what]) => `${path}: ${what}`));
}

/** Whoever is let off must still be there and still need it. */
function assertNeeded(form: RegExp, letOff: Readonly<Record<string, string>>): void {
  for (const path of Object.keys(letOff)) {
    const text = sources.find((source) => source.path === path)?.text ?? "";
    assert.ok(text.search(form) !== -1, `${path} need not be let off any more`);
  }
}

/** Ciphers without a tag of their own. */
const unauthenticated: Readonly<Record<string, string>> = {
  "src/adapter/tpm/session.ts": "parameters of TPM 2.0 sessions: AES-CFB, and an HMAC over them",
};

test("pitfalls: every decipher with a tag -> names the tag's length, and gives out nothing before final()", () => {
  const complaints = sources.flatMap((source) =>
    callsOf(source, "createDecipheriv").flatMap(({ call, after }) => {
      if (source.path in unauthenticated) return /-(?:cfb|ctr)"/.test(call) ? [] : [source.path];
      const named =
        call.includes("authTagLength") ||
        (/\boptions\)/.test(call) && /\bauthTagLength:/.test(source.text));
      const final = after.indexOf(".final()");
      const returned = after.search(/\breturn (?!bad|refuse)/);
      return [
        ...(named ? [] : [`${source.path}: without authTagLength`]),
        ...(final !== -1 && (returned === -1 || final < returned)
          ? []
          : [`${source.path}: returns before final()`]),
      ];
    }),
  );
  assert.deepEqual(complaints, []);
  assert.ok(sources.some((source) => callsOf(source, "createDecipheriv").length > 0));
  assertNeeded(/createDecipheriv/, unauthenticated);
});

const lenientJson: Readonly<Record<string, string>> = {
  "src/format/json.ts": "a single number or string, whose form was checked",
  "src/boot/manifest.ts":
    "the first stage imports nothing; what counts are the payload's signed bytes",
  "src/boot/rom.ts": "the fuses: a file of the device itself",
};

test("pitfalls: JSON of others is read by format/json.ts alone, which takes no key twice", () => {
  assert.deepEqual(offenders(/\bJSON\.parse\b/g, lenientJson), []);
  assertNeeded(/\bJSON\.parse\b/, lenientJson);
  assert.equal((JSON.parse('{"a":1,"a":2}') as { a: number }).a, 2);
  assert.throws(() => parseJson('{"a":1,"a":2}'), /json\.|twice|duplicate|repeat/i);
});

const lenientBytes: Readonly<Record<string, string>> = {
  "src/base/bytes.ts": "fromHex, behind its check",
  "src/format/note.ts": "fromBase64 encodes again and compares",
  "src/format/dsse.ts": "base64 encodes again and compares",
  "src/format/ceremony.ts": "signatures and sealed bytes: what is wrong in them does not verify",
  "src/boot/manifest.ts":
    "the first stage imports nothing; what counts are the payload's signed bytes",
  "src/boot/stage.ts": "keys that were checked to be 64 hex digits",
  "src/adapter/disk/state.ts": "our own file, behind its HMAC",
};

test("pitfalls: hex and base64 of others are read where what is no hex or base64 is refused", () => {
  // A constant may stand anywhere.
  const form = /Buffer\.from\((?!")[^()]*(?:\([^()]*\))?[^()]*, "(?:hex|base64(?:url)?)"\)/g;
  assert.deepEqual(offenders(form, lenientBytes), []);
  assertNeeded(new RegExp(form.source), lenientBytes);
  assert.equal(Buffer.from("abzz", "hex").length, 1);
  assert.throws(() => fromHex("abzz", 2));
});

const verifiers: Readonly<Record<string, string>> = {
  "src/base/sign.ts": "the one rule",
  "src/boot/manifest.ts": "the first stage imports nothing",
  "src/boot/dice.ts": "the first stage imports nothing",
};

test("pitfalls: signatures are verified in one place, whose keys were looked at when they were enrolled", () => {
  const form = /\bimport \{[^}]*\b(?:verify|createVerify)\b[^}]*\} from "node:crypto"/g;
  const kept = Object.fromEntries(
    Object.entries(verifiers).filter(([path]) =>
      sources.some((source) => source.path === path && new RegExp(form.source).test(source.text)),
    ),
  );
  assert.ok("src/base/sign.ts" in kept);
  assert.deepEqual(offenders(form, verifiers), []);
  // Why keys are looked at: src/base/enrol.test.ts forges for one of small order.
});

test("pitfalls: a decipher without authTagLength -> takes a tag of four bytes, so the rule above has a reason", () => {
  const key = Buffer.alloc(32, 1);
  const nonce = Buffer.alloc(12, 2);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  const sealed = Buffer.concat([cipher.update("secret"), cipher.final()]);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce);
  decipher.setAuthTag(cipher.getAuthTag().subarray(0, 4));
  // And the plaintext is out before any tag was looked at.
  assert.equal(decipher.update(sealed).toString(), "secret");
  decipher.final();
});

test("pitfalls: MACs, digests and keys are compared in constant time", () => {
  const form = /\b(?:hmac\w*|mac|macOf)\([^;\n]*\)\.equals\(|\.equals\((?:hmac\w*|mac)\b/gi;
  assert.deepEqual(offenders(form, {}), []);
});

test("pitfalls: nothing is hashed with what is broken, and no code is made from text", () => {
  const form =
    /"(?:md5|sha1|des(?:-[^"]*|3)?|rc4|aes-\d+-ecb)"|\beval\(|\bnew Function\(|\bnode:vm\b/g;
  assert.deepEqual(offenders(form, {}, /^src\//), []);
});
