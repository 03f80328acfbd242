/** The page's own link to its server: server-sent events, watched for silence, opened again. */
import type { SiteStatus } from "../document.ts";

/** Beats come every 5 seconds; after this long without a word the link counts as lost. */
const silenceMs = 12_000;
const retryMs = 1500;

export type LinkState = "connecting" | "live" | "lost" | "outdated";

export interface StreamOptions {
  readonly onStatus: (site: SiteStatus) => void;
  readonly onState: (state: LinkState) => void;
}

/** The server's word is enough, but a newer server's document may not be ours. */
function isSite(value: unknown): value is SiteStatus {
  return typeof value === "object" && value !== null && "schema" in value && value.schema === 1;
}

/** Opens the stream and keeps it open for as long as the page lives. */
export function openStream(options: StreamOptions): void {
  let source: EventSource | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const again = (): void => {
    source?.close();
    source = null;
    clearTimeout(silence);
    clearTimeout(retry);
    options.onState("lost");
    retry = setTimeout(connect, retryMs);
  };
  const heard = (): void => {
    clearTimeout(silence);
    silence = setTimeout(again, silenceMs);
  };
  function connect(): void {
    source = new EventSource("/api/events");
    heard();
    source.addEventListener("status", (event: MessageEvent<string>) => {
      heard();
      const site: unknown = JSON.parse(event.data);
      if (!isSite(site)) {
        options.onState("outdated");
        return;
      }
      options.onState("live");
      options.onStatus(site);
    });
    source.addEventListener("beat", heard);
    source.addEventListener("error", again);
  }
  connect();
}
