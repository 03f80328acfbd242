/**
 * A role started by `weir up` holds the reading end of a pipe. When the supervisor is gone, however
 * it died, the pipe ends: the role stops in order, and after a grace period at once.
 */
const graceMs = 10_000;

/** Stops this process when its standard input ends. Does not keep it alive. */
export function dieWithStdin(): void {
  const { stdin } = process;
  let dying = false;
  const die = (): void => {
    if (dying) return;
    dying = true;
    setTimeout(() => {
      process.kill(process.pid, "SIGKILL");
    }, graceMs).unref();
    process.kill(process.pid, "SIGTERM");
  };
  stdin.on("end", die);
  stdin.on("close", die);
  stdin.on("error", die);
  stdin.resume();
  stdin.unref();
}
