/** Alarms to a webhook: POSTs each alarm as JSON to one URL. Redirects are not followed. */
import { setTimeout as sleep } from "node:timers/promises";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import type { AlarmSink } from "../alarm/alarm.port.ts";
import type { Alarm } from "../format/status.ts";

const defaultTimeoutMs = 5000;

/**
 * A sink for `url`. The body is `{"source": name, "alarm": Alarm}`; any 2xx status is success, its
 * body is not read. `send` rejects with UnavailableError `webhook.*`: effect none when the receiver
 * refused, unknown when it did not answer in time. Throws InvalidError `webhook.url`.
 */
export function webhookSink(url: string, source: string, timeoutMs = defaultTimeoutMs): AlarmSink {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    throw new InvalidError("webhook.url", `"${url}" is no http or https URL`);
  }
  return {
    name: `webhook ${parsed.host}`,
    async send(alarm: Alarm): Promise<void> {
      let response: Response;
      try {
        response = await fetch(parsed, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ source, alarm }),
          redirect: "manual",
          signal: AbortSignal.timeout(timeoutMs),
        });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new UnavailableError("webhook.down", `${parsed.host}: ${why}`, "unknown");
      }
      await response.body?.cancel();
      if (!response.ok) {
        const text = `${parsed.host} answered ${response.status}`;
        throw new UnavailableError("webhook.refused", text, "none");
      }
    },
  };
}

/**
 * Posts one alarm, a few times if need be; one that could not be delivered is logged as
 * `webhook.not-sent`. Rejects only with InvalidError `webhook.url`.
 */
export async function postWebhook(
  url: string,
  alarm: Alarm,
  logger: Logger,
  retriesMs: readonly number[] = [1000, 5000, 30_000],
): Promise<void> {
  const sink = webhookSink(url, alarm.subject);
  for (const waitMs of [...retriesMs, null]) {
    try {
      await sink.send(alarm);
      return;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const fields = { id: alarm.id, sink: sink.name, reason: error.message };
      logger.log(waitMs === null ? "error" : "warn", "webhook.not-sent", fields);
      if (waitMs !== null) await sleep(waitMs, undefined, { ref: false });
    }
  }
}
