/**
 * Where the leaf of a tag stands, in memory. Tags count up densely within a boot epoch and nearly
 * every admitted pair gets a leaf, so pages of counters beat a hash map: about 4 bytes a leaf (a Map
 * with bigint keys takes about 100), and at most 1 KiB for an epoch that served next to nothing.
 */
import { assert } from "../../base/assert.ts";
import type { Tag } from "../../format/tag.ts";

const pageTags = 256;
const pageBits = 8n;

export class TagIndex {
  /** Page number -> leaf index + 1 by low bits of the tag; 0 = none. */
  readonly #pages = new Map<bigint, Uint32Array>();

  set(tag: Tag, index: number): void {
    assert(index < 2 ** 32 - 1, "the leaf log has fewer than 2^32 leaves");
    const number = tag >> pageBits;
    let page = this.#pages.get(number);
    if (page === undefined) this.#pages.set(number, (page = new Uint32Array(pageTags)));
    page[Number(tag & 255n)] = index + 1;
  }

  find(tag: Tag): number | null {
    const found = this.#pages.get(tag >> pageBits)?.[Number(tag & 255n)] ?? 0;
    return found === 0 ? null : found - 1;
  }
}
