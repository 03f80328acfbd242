/** The bubblewrap back end: one command line. https://github.com/containers/bubblewrap */
import { execFileSync } from "node:child_process";
import { inside, insideEnvironment, type Layout } from "./layout.ts";

export interface Sizes {
  /** Bytes of the in-memory directory for weights. */
  readonly memoryBytes: number;
  /** Bytes of the in-memory /tmp. */
  readonly scratchBytes: number;
}

/** Whether this bubblewrap can forbid further user namespaces inside (0.8 and later). */
export function forbidsNesting(tool: string): boolean {
  const help = execFileSync(tool, ["--help"], { encoding: "utf8", env: {}, timeout: 5000 });
  return help.includes("--disable-userns");
}

/**
 * The command that runs `argv` inside. Descriptor `infoFd` receives `{"child-pid":N}`; from
 * `seccompFd`, when not null, the filter is read.
 */
export function bubblewrapCommand(
  tool: string,
  layout: Layout,
  sizes: Sizes,
  infoFd: number,
  seccompFd: number | null,
  argv: readonly string[],
): string[] {
  const args = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"];
  args.push("--unshare-uts", "--unshare-cgroup-try");
  if (forbidsNesting(tool)) args.push("--disable-userns");
  args.push("--uid", "65534", "--gid", "65534", "--hostname", "server");
  args.push("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv");
  for (const [name, value] of Object.entries(insideEnvironment)) args.push("--setenv", name, value);
  for (const { path, target } of layout.symlinks) args.push("--symlink", target, path);
  for (const { from, to } of layout.binds) args.push("--ro-bind", from, to);
  for (const device of layout.devices) args.push("--dev-bind", device, device);
  args.push("--proc", "/proc", "--remount-ro", "/proc");
  args.push("--size", String(sizes.memoryBytes), "--tmpfs", inside.weights);
  args.push("--size", String(sizes.scratchBytes), "--tmpfs", inside.scratch);
  args.push("--remount-ro", "/", "--chdir", inside.scratch, "--info-fd", String(infoFd));
  if (seccompFd !== null) args.push("--seccomp", String(seccompFd));
  // A core dump would be memory that outlives the server; bubblewrap itself sets no limits.
  return ["/bin/sh", "-c", 'ulimit -c 0; exec "$@"', "sh", tool, ...args, "--", ...argv];
}
