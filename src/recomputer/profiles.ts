/** Which calibration profile a pair is judged by. Without one nothing is judged. */
import { UnavailableError } from "../base/assert.ts";
import { profileMismatch, type Profile, type ProfileFile } from "../format/profile.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";

/**
 * The profile that an entry names by digest. Throws UnavailableError `recomputer.no-profile` when it
 * is not at hand, or does not speak for this entry: the pair waits, and is alarmed on.
 */
export function profileOf(entry: WhitelistEntry, profiles: readonly ProfileFile[]): Profile {
  const found = profiles.find(({ digest }) => digest.equals(entry.profile));
  const lacking = (why: string): UnavailableError =>
    new UnavailableError("recomputer.no-profile", `model ${entry.modelId}: ${why}`, "none");
  if (found === undefined) {
    throw lacking(`its calibration profile ${entry.profile.toString("hex")} is not at hand`);
  }
  const mismatch = profileMismatch(found.profile, entry);
  if (mismatch !== null) throw lacking(`its calibration profile is not for it: ${mismatch}`);
  return found.profile;
}
