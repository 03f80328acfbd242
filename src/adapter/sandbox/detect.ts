/** Which back end really works here, found by trying. */
import { UnavailableError } from "../../base/assert.ts";
import { startBox, type BoxSpec, type SandboxKind } from "./box.ts";

export interface Detected {
  readonly kind: SandboxKind;
  /** What isolates the server, or, for `off`, why each back end does not work. */
  readonly detail: string;
}

const descriptions: Readonly<Record<"bubblewrap" | "unshare", string>> = {
  bubblewrap:
    "bubblewrap: own user, network, mount, pid, ipc and uts namespaces, system calls filtered",
  unshare:
    "unshare: own user, network, mount, pid, ipc, uts and cgroup namespaces, no system call filter",
};

// Says over the link which interfaces and how many processes it sees, as evidence of its own box.
const probe = `
const fs = require("node:fs");
const lines = fs.readFileSync("/proc/net/dev", "utf8").split("\\n").slice(2).filter((l) => l.includes(":"));
const links = lines.map((line) => line.split(":")[0].trim()).filter((name) => name !== "lo");
const processes = fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
const status = fs.readFileSync("/proc/self/status", "utf8");
const capable = !/^CapBnd:\\t0+$/m.test(status) || !/^CapEff:\\t0+$/m.test(status);
const wrong = [];
if (links.length > 0) wrong.push("it has a network interface");
if (processes.length > 4) wrong.push("it sees other processes");
if (capable) wrong.push("it has capabilities");
fs.writeSync(3, JSON.stringify(wrong) + "\\n");
`;

/** Tries one back end. Returns "" when it works, or else why not, in words. */
export async function tryBackEnd(
  kind: "bubblewrap" | "unshare",
  options: Pick<BoxSpec, "user" | "nodePath"> = {},
): Promise<string> {
  if (process.platform !== "linux") return `${kind}: namespaces exist on Linux only`;
  try {
    const argv: BoxSpec["argv"] = (paths) => [paths.node, "-e", probe];
    const small = { memoryBytes: 2 ** 20, scratchBytes: 2 ** 20 };
    const box = await startBox(kind, { ...options, ...small, argv });
    let [answer, said] = ["", ""];
    box.link.on("data", (bytes: Buffer) => (answer += bytes.toString("utf8")));
    box.link.on("error", () => undefined);
    for (const stream of box.says) {
      stream.on("data", (bytes: Buffer) => (said += bytes.toString("latin1").slice(0, 500)));
    }
    const limit = setTimeout(() => void box.kill().catch(() => undefined), 10_000);
    const { reason } = await box.gone;
    clearTimeout(limit);
    await new Promise((resolve) =>
      box.link.destroyed ? resolve(null) : box.link.once("close", resolve),
    );
    if (answer === "[]\n") return "";
    return `${kind}: ${(answer || said || reason)
      .replaceAll(/[^\x20-\x7e]+/g, " ")
      .slice(0, 500)
      .trim()}`;
  } catch (error) {
    if (error instanceof UnavailableError)
      return `${kind}: ${error.message.replace(`${kind}: `, "")}`;
    throw error;
  }
}

/** The best back end that works for this user on this host: bubblewrap, else unshare, else off. */
export async function detectSandbox(
  options: Pick<BoxSpec, "user" | "nodePath"> = {},
): Promise<Detected> {
  const why: string[] = [];
  for (const kind of ["bubblewrap", "unshare"] as const) {
    const problem = await tryBackEnd(kind, options);
    if (problem === "") return { kind, detail: describe(kind, why) };
    why.push(problem);
  }
  return { kind: "off", detail: `NO ISOLATION. ${why.join("; ")}` };
}

function describe(kind: "bubblewrap" | "unshare", why: readonly string[]): string {
  return [descriptions[kind], ...why.map((reason) => `not used: ${reason}`)].join("; ");
}

/**
 * What to run a server in when `wanted` is asked for. Throws UnavailableError `sandbox.unusable`
 * when one named back end does not work here; `auto` falls back to `off`, which its detail says.
 */
export async function chooseSandbox(
  wanted: "auto" | SandboxKind,
  options: Pick<BoxSpec, "user" | "nodePath"> = {},
): Promise<Detected> {
  if (wanted === "auto") return detectSandbox(options);
  if (wanted === "off")
    return { kind: "off", detail: "NO ISOLATION: switched off by configuration" };
  const problem = await tryBackEnd(wanted, options);
  if (problem === "") return { kind: wanted, detail: descriptions[wanted] };
  throw new UnavailableError("sandbox.unusable", `cannot isolate with ${problem}`, "none");
}
