/** `weir whitelist`: what both parties allow; drafted, signed by each on its own machine, verified, shown. */
import { runSubcommand } from "./subcommands.ts";
import { runAdd, runRemove, runRenew } from "./whitelist/draft.ts";
import { runShow } from "./whitelist/show.ts";
import { runSign, runVerify } from "./whitelist/sign.ts";

const help = `Usage: weir whitelist COMMAND [OPTIONS]

The list of models that both parties allow. Each party works offline, on its own machine, with its own key:

  add         draft the next whitelist: that in force with a model added or replaced
  remove      draft the next whitelist: that in force without a model
  renew       draft the next whitelist: the same entries for longer, or under a new root
  sign        add one party's signature to a draft
  verify      check a whitelist as a gateway does
  show        show a whitelist, its signatures and what it changes (default: the site's)

Each has --help. How two parties do it together: docs/operating/whitelist.md.
`;

/** `weir whitelist`. */
export function runWhitelist(argv: string[]): Promise<number> {
  const commands = {
    add: runAdd,
    remove: runRemove,
    renew: runRenew,
    sign: runSign,
    verify: runVerify,
    show: runShow,
  };
  return runSubcommand("whitelist", argv, help, commands, runShow);
}
