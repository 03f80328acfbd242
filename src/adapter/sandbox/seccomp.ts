/**
 * The system call filter of the sandbox, as classic BPF (seccomp(2), struct sock_filter: u16 code,
 * u8 jump-true, u8 jump-false, u32 k, in the machine's byte order). It closes what namespaces leave
 * open: socket families that no network namespace confines (vsock reaches the hypervisor), and
 * metadata of the device nodes shared with the host, which would outlive the server.
 * Numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
 */

type Architecture = "x64" | "arm64";

const auditArchitecture: Readonly<Record<Architecture, number>> = {
  x64: 0xc000003e,
  arm64: 0xc00000b7,
};

/** Refused with EPERM: [x64, arm64]; null where the architecture has no such call. */
const refused: Readonly<Record<string, readonly [number, number | null]>> = {
  // other processes and the kernel
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  syslog: [103, 116],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  reboot: [169, 142],
  acct: [163, 89],
  swapon: [167, 224],
  swapoff: [168, 225],
  quotactl: [179, 60],
  // key rings outlive processes
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  // namespaces and mounts
  unshare: [272, 97],
  setns: [308, 268],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  fanotify_init: [300, 262],
  // metadata and locks of files shared with the host or with other servers
  chmod: [90, null],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  chown: [92, null],
  lchown: [94, null],
  fchown: [93, 55],
  fchownat: [260, 54],
  utime: [132, null],
  utimes: [235, null],
  futimesat: [261, null],
  utimensat: [280, 88],
  setxattr: [188, 5],
  lsetxattr: [189, 6],
  fsetxattr: [190, 7],
  setxattrat: [463, 463],
  removexattr: [197, 14],
  lremovexattr: [198, 15],
  fremovexattr: [199, 16],
  removexattrat: [466, 466],
  file_setattr: [469, 469],
  flock: [73, 32],
};

/** Refused with ENOSYS, so that programs fall back: io_uring bypasses this filter, clone3 hides flags. */
const absent: readonly number[] = [425, 426, 427, 435];

const calls: Readonly<Record<Architecture, { socket: number; socketpair: number; clone: number }>> =
  {
    x64: { socket: 41, socketpair: 53, clone: 56 },
    arm64: { socket: 198, socketpair: 199, clone: 220 },
  };

const familyUnix = 1;
const cloneNewUser = 0x10000000;
const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
const retAllow = 0x7fff0000;
const retKillProcess = 0x80000000;
const retErrno = 0x00050000;
// struct seccomp_data: int nr; u32 arch; u64 instruction pointer; u64 args[6] (little-endian here).
const [offsetCall, offsetArchitecture, offsetArgument0] = [0, 4, 16];
const [load, jumpEqual, jumpAtLeast, jumpAnySet, ret] = [0x20, 0x15, 0x35, 0x45, 0x06];

/** The filter for `architecture`, or null where we have none. */
export function seccompFilter(architecture: string): Buffer | null {
  if (architecture !== "x64" && architecture !== "arm64") return null;
  const call = calls[architecture];
  const column = architecture === "x64" ? 0 : 1;
  const code: [number, number, number, number][] = [
    [load, 0, 0, offsetArchitecture],
    [jumpEqual, 1, 0, auditArchitecture[architecture]],
    [ret, 0, 0, retKillProcess],
    [load, 0, 0, offsetCall],
    // The x32 calls of x64 have bit 30 set and would slip past the numbers below.
    [jumpAtLeast, 0, 1, 0x40000000],
    [ret, 0, 0, retErrno | ENOSYS],
  ];
  const whenCalled = (number: number, errno: number): void => {
    code.push([jumpEqual, 0, 1, number], [ret, 0, 0, retErrno | errno]);
  };
  for (const numbers of Object.values(refused)) {
    const number = numbers[column];
    if (number !== null && number !== undefined) whenCalled(number, EPERM);
  }
  for (const number of absent) whenCalled(number, ENOSYS);
  for (const number of [call.socket, call.socketpair]) {
    code.push([jumpEqual, 0, 4, number], [load, 0, 0, offsetArgument0]);
    code.push([jumpEqual, 0, 1, familyUnix], [ret, 0, 0, retAllow]);
    code.push([ret, 0, 0, retErrno | EAFNOSUPPORT]);
  }
  code.push([jumpEqual, 0, 3, call.clone], [load, 0, 0, offsetArgument0]);
  code.push([jumpAnySet, 0, 1, cloneNewUser], [ret, 0, 0, retErrno | EPERM]);
  code.push([ret, 0, 0, retAllow]);
  return assemble(code);
}

function assemble(code: readonly (readonly [number, number, number, number])[]): Buffer {
  const program = Buffer.alloc(8 * code.length);
  code.forEach(([operation, ifTrue, ifFalse, k], index) => {
    program.writeUInt16LE(operation, 8 * index);
    program.writeUInt8(ifTrue, 8 * index + 2);
    program.writeUInt8(ifFalse, 8 * index + 3);
    program.writeUInt32LE(k >>> 0, 8 * index + 4);
  });
  return program;
}
