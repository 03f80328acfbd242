/**
 * Tags, spec/tag.md. A tag names a pair at one gateway for ever: boot epoch (24 bits) then counter
 * (40 bits), so tags rise strictly, also across restarts, without a disk write per request.
 * Written for people as `<gateway>.<16 hex digits>`; an OpenAI id puts `chatcmpl-` or `cmpl-` before it.
 */
import { assert, InvalidError } from "../base/assert.ts";

declare const tagBrand: unique symbol;
export type Tag = bigint & { readonly [tagBrand]: true };

const counterBits = 40n;
export const epochMax = 2 ** 24 - 1;
export const tagCounterMax = 2 ** 40 - 1;

/** Builds a tag. `epoch` counts boots from 1, `counter` counts pairs of the epoch from 1. */
export function makeTag(epoch: number, counter: number): Tag {
  assert(Number.isInteger(epoch) && epoch >= 1 && epoch <= epochMax, "epoch is in range");
  assert(
    Number.isInteger(counter) && counter >= 1 && counter <= tagCounterMax,
    "tag space is left",
  );
  return ((BigInt(epoch) << counterBits) | BigInt(counter)) as Tag;
}

/** Reads any u64 as a tag. Throws InvalidError `tag.zero` when epoch or counter is 0. */
export function asTag(value: bigint): Tag {
  if (value >> counterBits === 0n || (value & BigInt(tagCounterMax)) === 0n) {
    throw new InvalidError("tag.zero", "a tag has a boot epoch and a counter, both from 1");
  }
  return value as Tag;
}

export function tagEpoch(tag: Tag): number {
  return Number(tag >> counterBits);
}

export interface NamedTag {
  readonly gateway: string;
  readonly tag: Tag;
}

const tagPattern = /^(?:chatcmpl-|cmpl-)?([a-z0-9][a-z0-9-]{0,30})\.([0-9a-f]{16})$/;

/** `g1.0000010000000001` */
export function formatTag(gateway: string, tag: Tag): string {
  return `${gateway}.${tag.toString(16).padStart(16, "0")}`;
}

/** Parses what people paste: a tag, or a whole completion id. Throws InvalidError `tag.text`. */
export function parseTag(text: string): NamedTag {
  const match = tagPattern.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new InvalidError(
      "tag.text",
      `"${text.slice(0, 80)}" is no tag: expected g1.0000010000000001`,
    );
  }
  return { gateway: match[1], tag: asTag(BigInt(`0x${match[2]}`)) };
}
