/**
 * What clients are told when a request fails, in OpenAI's shape:
 * `{"error":{"message","type","param","code"}}`. Texts are fixed or name what the client sent;
 * nothing that a server or gateway chose is passed on.
 */
import type { Abort, Refusal } from "../format/router-link.ts";

export interface ApiError {
  readonly status: number;
  readonly message: string;
  readonly type: "invalid_request_error" | "rate_limit_error" | "server_error";
  readonly param: string | null;
  readonly code: string;
  /** Seconds for Retry-After; 0 sends none. */
  readonly retryAfter: number;
}

/** The body of an error reply, and the data of an in-band error event. */
export function errorJson(error: ApiError): string {
  const { message, type, param, code } = error;
  return JSON.stringify({ error: { message, type, param, code } });
}

/** The client's own mistake. `param` is the path of the field at fault, or null. */
export function invalid(code: string, message: string, param: string | null = null): ApiError {
  return { status: 400, message, type: "invalid_request_error", param, code, retryAfter: 0 };
}

function failure(
  status: number,
  code: string,
  message: string,
  retryAfter = 0,
  param: string | null = null,
): ApiError {
  const client = status < 500;
  const type =
    status === 429 ? "rate_limit_error" : client ? "invalid_request_error" : "server_error";
  return { status, message, type, param, code, retryAfter };
}

export const unknownUrl = (method: string, path: string): ApiError =>
  failure(404, "unknown_url", `Unknown request URL: ${method} ${path.slice(0, 200)}`);

export const wrongMethod = (method: string, allow: string): ApiError =>
  failure(405, "method_not_allowed", `Not allowed to ${method} here; use ${allow}.`);

export const wrongContentType = failure(
  415,
  "unsupported_media_type",
  "Send the body as JSON, with the header Content-Type: application/json.",
);

export const bodyTooLarge = (max: number): ApiError =>
  failure(413, "body_too_large", `The request body exceeds ${max} bytes.`);

export const bodyTooSlow = failure(
  408,
  "request_timeout",
  "The request did not arrive in time; the connection is closed.",
);

export const headersTooLarge = failure(
  431,
  "headers_too_large",
  "The request's headers are too large.",
);

export const malformedHttp = failure(400, "malformed_http", "This is not well-formed HTTP/1.1.");

export const tooManyRequests = failure(
  429,
  "too_many_requests",
  "Too many requests are in flight; try again shortly.",
  1,
);

export const tooManyConnections = failure(
  503,
  "too_many_connections",
  "Too many connections are open; try again shortly.",
  2,
);

export const shuttingDown = failure(503, "shutting_down", "This router is shutting down.", 2);

/** The model is on no whitelist, so no gateway may ever serve it. */
export const modelNotFound = (model: string): ApiError =>
  failure(
    404,
    "model_not_found",
    `The model \`${model}\` does not exist or is not on the whitelist.`,
    0,
    "model",
  );

/** The model is whitelisted, but none of its gateways can take a request now. */
export const noneServing = (model: string): ApiError =>
  failure(503, "model_unavailable", `No gateway is serving \`${model}\` right now; try again.`, 1);

const afterAbort: Readonly<Record<Abort, ApiError>> = {
  "server-lost": failure(502, "server_lost", "The inference server was lost.", 1),
  "server-misbehaved": failure(502, "server_misbehaved", "The inference server was stopped.", 1),
  deadline: failure(504, "deadline", "The inference server took too long."),
  overloaded: failure(503, "overloaded", "The inference server is overloaded; try again.", 2),
  internal: failure(502, "internal", "The gateway could not complete the request."),
  "prompt-too-long": invalid(
    "context_length_exceeded",
    "The prompt does not fit the model's context.",
  ),
  template: invalid(
    "template",
    "The model's chat template does not accept these messages.",
    "messages",
  ),
};

/** What the client is told of an ABORT that is not retried. */
export function errorOfAbort(code: Abort): ApiError {
  return afterAbort[code];
}

/**
 * Whether another gateway could do better: the fault lay with the server, not with the request. A
 * passed deadline is not tried again: the client has waited that long already.
 */
export function abortIsRetried(code: Abort): boolean {
  return afterAbort[code].status >= 500 && code !== "deadline";
}

/** What the client is told of a REFUSED that no other gateway can mend. */
export function errorOfRefusal(code: Refusal, detail: string, model: string): ApiError {
  if (code === "parameters") {
    const param = /^[a-z_]{1,40}$/.test(detail) ? detail : null;
    const what = param === null ? "A parameter" : `\`${param}\``;
    return invalid("unsupported_parameter", `${what} is outside what the whitelist allows.`, param);
  }
  if (code === "invalid") return afterAbort.internal;
  return noneServing(model);
}
