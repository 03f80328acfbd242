/** Reads an alarm policy for a command, and checks that its ladder keeps the fleet's promise. */
import { readFileSync } from "node:fs";
import { ladderFor } from "../alarm/ladder.ts";
import { InvalidError } from "../base/assert.ts";
import { parsePolicy, type Ladder, type Policy } from "../format/policy.ts";
import { fleetBudget } from "../verification/fleet.ts";

/** The ladder of a policy. Throws InvalidError `policy.field` when it breaks the fleet's budget. */
export function ladderOfPolicy(policy: Policy): Ladder {
  return ladderFor(policy, fleetBudget(policy.fleet).logE);
}

/** Throws InvalidError that names the file, and the field of it that is wrong. */
export function readPolicyFile(path: string): Policy {
  try {
    const policy = parsePolicy(readFileSync(path));
    ladderOfPolicy(policy);
    return policy;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const code = error instanceof InvalidError ? error.code : "policy.file";
    throw new InvalidError(code, `policy ${path}: ${error.message}`);
  }
}
