/** What the router counts, and the Prometheus text (exposition format 0.0.4) of it. Pure. */

/** Upper bounds of the buckets, seconds. */
const bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** A Prometheus histogram of seconds. */
export class Histogram {
  readonly #counts: number[] = bounds.map(() => 0);
  #count = 0;
  #sum = 0;

  observe(seconds: number): void {
    this.#count++;
    this.#sum += seconds;
    const at = bounds.findIndex((bound) => seconds <= bound);
    if (at !== -1) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  text(name: string): string {
    let below = 0;
    let out = "";
    for (let i = 0; i < bounds.length; i++) {
      below += this.#counts[i] ?? 0;
      out += `${name}_bucket{le="${bounds[i] ?? 0}"} ${below}\n`;
    }
    out += `${name}_bucket{le="+Inf"} ${this.#count}\n`;
    return `${out}${name}_sum ${this.#sum}\n${name}_count ${this.#count}\n`;
  }
}

export interface GatewayGauge {
  readonly name: string;
  readonly accepting: boolean;
  readonly inflight: number;
}

export interface Gauges {
  readonly inflight: number;
  readonly waiting: number;
  readonly connections: number;
  readonly gateways: readonly GatewayGauge[];
}

function family(name: string, type: string, help: string, samples: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples}`;
}

export class Metrics {
  /** Seconds from a complete request to the first text that its client was sent. */
  readonly firstToken = new Histogram();
  /** Seconds from a complete request to the end of its reply. */
  readonly duration = new Histogram();
  requests = 0;
  errors = 0;
  tokens = 0;
  retries = 0;
  slowClients = 0;
  /** By endpoint and status code; 499 is a client that left, 200 with `cut` a stream cut off. */
  readonly #codes = new Map<string, number>();

  /** Counts an answered request. A client's own leaving is no error of ours. */
  count(endpoint: string, code: number, outcome = "done"): void {
    const labels = `endpoint="${endpoint}",code="${code}",outcome="${outcome}"`;
    this.#codes.set(labels, (this.#codes.get(labels) ?? 0) + 1);
    this.requests++;
    if (code >= 500 || outcome === "cut") this.errors++;
  }

  text(gauges: Gauges): string {
    const codes = [...this.#codes].map(
      ([labels, n]) => `weir_router_requests_total{${labels}} ${n}\n`,
    );
    const each = (name: string, value: (gateway: GatewayGauge) => number): string =>
      gauges.gateways.map((g) => `${name}{gateway="${g.name}"} ${value(g)}\n`).join("");
    const one = (name: string, type: string, help: string, value: number): string =>
      family(name, type, help, `${name} ${value}\n`);
    return [
      family("weir_router_requests_total", "counter", "Answered requests.", codes.join("")),
      one("weir_router_inflight", "gauge", "Requests being served.", gauges.inflight),
      one("weir_router_waiting", "gauge", "Requests waiting for a gateway.", gauges.waiting),
      one("weir_router_connections", "gauge", "Open client connections.", gauges.connections),
      one("weir_router_output_tokens_total", "counter", "Tokens sent to clients.", this.tokens),
      one(
        "weir_router_retries_total",
        "counter",
        "Requests sent to a gateway again.",
        this.retries,
      ),
      one(
        "weir_router_slow_clients_total",
        "counter",
        "Clients that read too slowly.",
        this.slowClients,
      ),
      family(
        "weir_router_first_token_seconds",
        "histogram",
        "Time to the first text of a reply.",
        this.firstToken.text("weir_router_first_token_seconds"),
      ),
      family(
        "weir_router_duration_seconds",
        "histogram",
        "Time to the end of a reply.",
        this.duration.text("weir_router_duration_seconds"),
      ),
      family(
        "weir_router_gateway_accepting",
        "gauge",
        "Whether a gateway takes requests.",
        each("weir_router_gateway_accepting", (g) => (g.accepting ? 1 : 0)),
      ),
      family(
        "weir_router_gateway_inflight",
        "gauge",
        "This router's requests at a gateway.",
        each("weir_router_gateway_inflight", (g) => g.inflight),
      ),
    ].join("");
  }
}
