/**
 * Writes the variants of the demo model that tests and demos use as a cheating prover's model:
 *
 *   node models/variants.ts --out DIR
 *
 * weir-demo.q8_0.gguf, weir-demo.q4_0.gguf, weir-demo.finetuned.gguf.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { mergeLora, requantise } from "../src/adversary/requantise.ts";

const { values } = parseArgs({ options: { out: { type: "string" } } });
const out = values.out;
if (out === undefined) throw new Error("usage: node models/variants.ts --out DIR");

const read = (name: string) => readFileSync(new URL(name, import.meta.url));
const model = read("weir-demo.gguf");
const variants = {
  "weir-demo.q8_0.gguf": requantise(model, "Q8_0"),
  "weir-demo.q4_0.gguf": requantise(model, "Q4_0"),
  "weir-demo.finetuned.gguf": mergeLora(model, read("weir-demo-finetune.lora.gguf")),
};

mkdirSync(out, { recursive: true });
for (const [name, bytes] of Object.entries(variants)) {
  writeFileSync(join(out, name), bytes);
  console.log(`${join(out, name)} ${bytes.length} bytes`);
}
