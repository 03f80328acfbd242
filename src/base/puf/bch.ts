/**
 * Binary primitive narrow-sense BCH codes over GF(2^m), m = 7 or 8: BCH(n = 2^m - 1, k, t) corrects any t errors.
 * Words are Uint8Arrays of n bits, one bit per byte, coefficient of x^i at index i; the k message bits stand at
 * indices n - k .. n - 1 (systematic), the n - k parity bits below. Blahut, "Algebraic Codes", chapter 7.
 */
import { assert } from "../assert.ts";

/** Primitive polynomials: x^7 + x^3 + 1, x^8 + x^4 + x^3 + x^2 + 1. */
const primitive: Readonly<Record<number, number>> = { 7: 0x89, 8: 0x11d };

export class BchCode {
  readonly n: number;
  readonly k: number;
  readonly t: number;
  readonly #exp: Uint8Array;
  readonly #log: Uint8Array;
  /** Coefficients of the generator polynomial, lowest first. */
  readonly #generator: Uint8Array;

  /** `m` is 7 or 8; `t` errors are corrected. */
  constructor(m: number, t: number) {
    const polynomial = primitive[m];
    assert(polynomial !== undefined, "codes over GF(2^7) and GF(2^8) only");
    this.n = 2 ** m - 1;
    this.t = t;
    this.#exp = new Uint8Array(2 * this.n);
    this.#log = new Uint8Array(this.n + 1);
    for (let i = 0, x = 1; i < this.n; i++) {
      this.#exp[i] = x;
      this.#exp[i + this.n] = x;
      this.#log[x] = i;
      x <<= 1;
      if (x > this.n) x ^= polynomial;
    }
    this.#generator = this.#makeGenerator();
    this.k = this.n - (this.#generator.length - 1);
  }

  #power(i: number): number {
    return this.#exp[i] ?? 0;
  }

  #logOf(x: number): number {
    return this.#log[x] ?? 0;
  }

  #times(a: number, b: number): number {
    return a === 0 || b === 0 ? 0 : this.#power(this.#logOf(a) + this.#logOf(b));
  }

  /** The product of (x - alpha^i) over the union of the cyclotomic cosets of 1 .. 2t: all its coefficients are bits. */
  #makeGenerator(): Uint8Array {
    const roots = new Set<number>();
    for (let i = 1; i <= 2 * this.t; i++) {
      for (let j = i % this.n; !roots.has(j); j = (2 * j) % this.n) roots.add(j);
    }
    assert(roots.size < this.n, "a code has at least one message bit");
    let product: number[] = [1];
    for (const root of roots) {
      const next = [0, ...product];
      product.forEach((c, i) => {
        next[i] = (next[i] ?? 0) ^ this.#times(c, this.#power(root));
      });
      product = next;
    }
    assert(
      product.every((c) => c <= 1),
      "a product of minimal polynomials is binary",
    );
    return Uint8Array.from(product);
  }

  /** The code word of k message bits; n bits. */
  encode(message: Uint8Array): Uint8Array {
    assert(message.length === this.k, "a message has k bits");
    const parity = this.n - this.k;
    const word = new Uint8Array(this.n);
    word.set(message, parity);
    const rest = Uint8Array.from(word);
    for (let i = this.n - 1; i >= parity; i--) {
      if (rest[i] !== 1) continue;
      for (let j = 0; j <= parity; j++) {
        const at = i - parity + j;
        rest[at] = (rest[at] ?? 0) ^ (this.#generator[j] ?? 0);
      }
    }
    word.set(rest.subarray(0, parity));
    return word;
  }

  /** The message bits of a code word. */
  message(word: Uint8Array): Uint8Array {
    return word.slice(this.n - this.k);
  }

  #syndromes(word: Uint8Array): Uint8Array {
    const s = new Uint8Array(2 * this.t);
    for (let i = 0; i < this.n; i++) {
      if (word[i] !== 1) continue;
      for (let j = 0; j < s.length; j++) {
        s[j] = (s[j] ?? 0) ^ this.#power((i * (j + 1)) % this.n);
      }
    }
    return s;
  }

  /** Berlekamp-Massey: the shortest error locator polynomial for these syndromes, lowest coefficient first. */
  #locator(s: Uint8Array): { locator: number[]; degree: number } {
    let c = [1];
    let b = [1];
    let degree = 0;
    let shift = 1;
    let last = 1;
    for (let i = 0; i < s.length; i++) {
      let d = s[i] ?? 0;
      for (let j = 1; j <= degree; j++) d ^= this.#times(c[j] ?? 0, s[i - j] ?? 0);
      if (d === 0) {
        shift++;
        continue;
      }
      const scale = this.#power(this.#logOf(d) + this.n - this.#logOf(last));
      const next = [...c];
      b.forEach((x, j) => {
        next[j + shift] = (next[j + shift] ?? 0) ^ this.#times(scale, x);
      });
      if (2 * degree <= i) {
        degree = i + 1 - degree;
        b = c;
        last = d;
        shift = 1;
      } else {
        shift++;
      }
      c = Array.from(next, (x) => x ?? 0);
    }
    return { locator: c, degree };
  }

  /** The code word within distance t of `received`, or null when none is found (bounded distance decoding). */
  decode(received: Uint8Array): Uint8Array | null {
    assert(received.length === this.n, "a received word has n bits");
    const s = this.#syndromes(received);
    if (s.every((x) => x === 0)) return Uint8Array.from(received);
    const { locator, degree } = this.#locator(s);
    if (degree > this.t) return null;
    const word = Uint8Array.from(received);
    let found = 0;
    // Chien search: position i is wrong iff alpha^-i is a root of the locator.
    for (let i = 0; i < this.n; i++) {
      let sum = 0;
      for (let j = 0; j <= degree; j++) {
        const c = locator[j] ?? 0;
        if (c !== 0) sum ^= this.#power((this.#logOf(c) + (this.n - i) * j) % this.n);
      }
      if (sum !== 0) continue;
      word[i] = (word[i] ?? 0) ^ 1;
      found++;
    }
    return found === degree ? word : null;
  }
}
