/**
 * What token ids spell, spec/pair.md "Spelling". Each token has a fixed string of bytes; an output is
 * the concatenation of its tokens' bytes, read as UTF-8 by the WHATWG decoder (malformed bytes become
 * U+FFFD). No token's spelling depends on its neighbours, so text can be streamed and checked.
 */
import { InvalidError } from "../../base/assert.ts";
import type { Speller } from "../../format/output-rules.ts";
import { tokenType, type TokenizerMetadata } from "./metadata.ts";

/** GPT-2's alphabet: entry b is the character that stands for byte b (openai/gpt-2, encoder.py). */
export function byteAlphabet(): string[] {
  const alphabet: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet.push(String.fromCodePoint(printable ? byte : next++));
  }
  return alphabet;
}

type PieceOf = (token: string, type: number, id: number) => Uint8Array;

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

/** Byte-level BPE: each character of a normal token stands for one byte. */
function gpt2Pieces(): PieceOf {
  const byteOf = new Map(byteAlphabet().map((character, byte) => [character, byte]));
  return (token, type, id) => {
    if (type === tokenType.userDefined) return bytesOf(token);
    if (type !== tokenType.normal) return new Uint8Array(0);
    const bytes = Array.from(token, (character) => {
      const byte = byteOf.get(character);
      if (byte === undefined) {
        throw new InvalidError("model.vocabulary", `token ${id} is not in the byte alphabet`);
      }
      return byte;
    });
    return Uint8Array.from(bytes);
  };
}

/**
 * SentencePiece: U+2581 is a space, <0xNN> tokens are bytes. The space that begins a first word is
 * kept: an output continues its prompt, so it is not the start of a text.
 */
const llamaPieces: PieceOf = (token, type, id) => {
  if (type === tokenType.userDefined) return bytesOf(token);
  if (type === tokenType.normal) return bytesOf(token.replaceAll("\u2581", " "));
  if (type !== tokenType.byte) return new Uint8Array(0);
  const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
  if (match?.[1] === undefined) {
    throw new InvalidError("model.vocabulary", `byte token ${id} is not written <0xNN>`);
  }
  return Uint8Array.of(Number.parseInt(match[1], 16));
};

function piecesFor(kind: string): PieceOf {
  if (kind === "gpt2") return gpt2Pieces();
  if (kind === "llama") return llamaPieces;
  throw new InvalidError(
    "model.tokenizer",
    `tokenizer "${kind}" is not supported: gpt2 and llama are`,
  );
}

// `ignoreBOM` keeps a leading U+FEFF, as any other character.
const decoderOptions = { ignoreBOM: true } as const;

export class Vocabulary {
  readonly #pieces: readonly Uint8Array[];

  /**
   * `isEnd` tells the tokens that end an output: they spell nothing, as control tokens do.
   * Throws InvalidError `model.tokenizer` for a kind that is not supported.
   */
  constructor(metadata: TokenizerMetadata, isEnd: (id: number) => boolean) {
    const pieceOf = piecesFor(metadata.kind);
    this.#pieces = metadata.tokens.map((token, id) =>
      isEnd(id) ? new Uint8Array(0) : pieceOf(token, metadata.types[id] ?? tokenType.normal, id),
    );
  }

  get size(): number {
    return this.#pieces.length;
  }

  /** Bytes of one token. Throws InvalidError `token.unknown` for an id outside the vocabulary. */
  piece(id: number): Uint8Array {
    const piece = this.#pieces[id];
    if (piece === undefined) throw new InvalidError("token.unknown", `there is no token ${id}`);
    return piece;
  }

  /** What these ids spell, all together. Throws InvalidError `token.unknown`. */
  spell(ids: ArrayLike<number>): string {
    const pieces: Uint8Array[] = [];
    for (const id of Array.from(ids)) pieces.push(this.piece(id));
    return new TextDecoder("utf-8", decoderOptions).decode(Buffer.concat(pieces));
  }

  /** A fresh incremental detokeniser; its concatenated text equals `spell`. */
  speller(): Speller {
    const utf8 = new TextDecoder("utf-8", decoderOptions);
    return {
      push: (id) => utf8.decode(this.piece(id), { stream: true }),
      end: () => utf8.decode(),
    };
  }
}
