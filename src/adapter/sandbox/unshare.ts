/**
 * The back end without bubblewrap: util-linux alone. unshare(1) makes the namespaces; a shell
 * script, process 1 of the new pid namespace, builds the root from bind mounts in a fresh tmpfs and
 * pivots into it (the host's own root cannot be remounted read-only from a user namespace); setpriv
 * drops every capability. The script stays as process 1, so that the program, which may clear its
 * own death signal, dies with it all the same.
 */
import { dirname } from "node:path";
import type { Sizes } from "./bubblewrap.ts";
import { inside, insideEnvironment, type Layout } from "./layout.ts";

export interface UnshareTools {
  readonly unshare: string;
  readonly setpriv: string;
  readonly setsid: string;
  readonly umount: string;
}

/** The command that runs `argv` inside. Descriptor `infoFd` receives `{"child-pid":N}`. */
export function unshareCommand(
  tools: UnshareTools,
  layout: Layout,
  sizes: Sizes,
  infoFd: number,
  argv: readonly string[],
): string[] {
  return [
    ...[tools.setpriv, "--pdeathsig", "KILL", "--", tools.unshare],
    ...["--user", "--map-root-user", "--mount", "--net", "--ipc", "--uts", "--cgroup"],
    ...["--pid", "--fork", "--kill-child=KILL", "--"],
    ...[tools.setsid, "/bin/sh", "-c", script(tools, layout, sizes, infoFd), "sh", ...argv],
  ];
}

/** Quotes for the shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

// The new root is assembled over /sys, the one directory that nothing is ever shown from; one level
// down, so that the mounts that /sys had are not taken for ours.
const cover = "/sys";
const base = "/sys/weir";

/** A shell line that shows the host's `from` at `to`, which is made first. */
function bindLine(from: string, to: string): string {
  const target = quote(base + to);
  const make = `if [ -d ${quote(from)} ]; then mkdir -p ${target}; else : >${target}; fi`;
  return `mkdir -p ${quote(base + dirname(to))}; ${make}; mount -n --rbind ${quote(from)} ${target}`;
}

// Every bind, with whatever is mounted below it, becomes read-only. Flags that the host set on a
// mount are locked here, and naming fewer than it has is refused: hence the second try.
const makeReadOnly = `
info=$(cat /proc/self/mountinfo)
printf '%s\\n' "$info" | while read -r id parent device root point rest; do
  case "$point" in ${base}/*) ;; *) continue ;; esac
  point=$(printf '%b' "$point")
  flags=remount,bind,ro,nosuid
  case "$point" in ${base}/dev/*) flags=$flags,noexec ;; *) flags=$flags,nodev ;; esac
  mount -n -o "$flags" "$point" 2>/dev/null || mount -n -o "$flags,noexec" "$point"
done`;

function script(tools: UnshareTools, layout: Layout, sizes: Sizes, infoFd: number): string {
  const environment = Object.entries(insideEnvironment).map(([name, value]) => `${name}=${value}`);
  const ownTools = { umount: "/.box/umount", setpriv: "/.box/setpriv" };
  return [
    "set -eu",
    "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
    "umask 022",
    "ulimit -c 0",
    // The host's /proc is still mounted and tells our process number as the host sees it.
    "read -r pid rest </proc/self/stat",
    `mount -n -t tmpfs -o mode=0755,size=1m,nosuid,nodev weir ${cover}`,
    `mkdir ${base}`,
    `mount -n -t tmpfs -o mode=0755,size=1m,nosuid,nodev weir ${base}`,
    `mkdir ${base}/proc ${base}/.old ${base}${inside.weights} ${base}${inside.scratch}`,
    ...layout.binds.map(({ from, to }) => bindLine(from, to)),
    ...layout.devices.map((device) => bindLine(device, device)),
    bindLine(tools.umount, ownTools.umount),
    bindLine(tools.setpriv, ownTools.setpriv),
    makeReadOnly,
    ...layout.symlinks.map(({ path, target }) => {
      return `mkdir -p ${quote(base + dirname(path))}; ln -s ${quote(target)} ${quote(base + path)}`;
    }),
    `mount -n -t tmpfs -o mode=0700,size=${sizes.memoryBytes},nosuid,nodev weir ${base}${inside.weights}`,
    `mount -n -t tmpfs -o mode=0700,size=${sizes.scratchBytes},nosuid,nodev weir ${base}${inside.scratch}`,
    `mount -n -t proc -o nosuid,nodev,noexec proc ${base}/proc`,
    `echo 0 >${base}/proc/sys/user/max_user_namespaces`,
    `mount -n -o remount,bind,ro,nosuid,nodev,noexec ${base}/proc`,
    `mount -n -o remount,bind,ro,nosuid,nodev ${base}`,
    "hostname server 2>/dev/null || :",
    `cd ${base}`,
    "pivot_root . .old",
    "cd /",
    `${ownTools.umount} -n -l /.old`,
    `cd ${inside.scratch}`,
    `printf '{"child-pid":%s}' "$pid" >&${infoFd}`,
    `exec ${infoFd}>&-`,
    "unset PATH OLDPWD",
    "code=0",
    `${environment.join(" ")} ${ownTools.setpriv} --bounding-set=-all --inh-caps=-all ` +
      `--ambient-caps=-all --securebits=+noroot,+noroot_locked --no-new-privs -- "$@" || code=$?`,
    `exit "$code"`,
  ].join("\n");
}
