/** The status page: takes documents from the stream and draws them. */
import type { SiteStatus } from "../document.ts";
import { MarginChart } from "./chart.ts";
import { byId, say, show } from "./dom.ts";
import { EvidenceChart } from "./evidence-chart.ts";
import { evidenceSection } from "./evidence.ts";
import { ago } from "./say.ts";
import { alarmSection, heroSection, roleSection, simulatedSection } from "./sections.ts";
import { cardList } from "./servers.ts";
import { openStream, type LinkState } from "./stream.ts";
import { logSection, verdictSection } from "./tables.ts";

let site: SiteStatus | null = null;
/** When the document came, by this browser's monotonic clock. */
let receivedAt = 0;
let linkState: LinkState = "connecting";

/** The site's own time, so that a browser with a wrong clock still shows right ages. */
function siteNow(): number {
  return (site?.atMs ?? 0) + (performance.now() - receivedAt);
}

const cards = cardList(byId("servers"), siteNow);
const chart = new MarginChart();
const trail = new EvidenceChart();
const sections = [
  heroSection(),
  alarmSection(siteNow, draw),
  evidenceSection(),
  verdictSection(siteNow, draw),
  logSection(),
  roleSection(siteNow),
  simulatedSection(),
];

function draw(): void {
  if (site === null) return;
  for (const render of sections) render(site);
  show(byId("servers-empty"), site.servers.length === 0);
  say(byId("servers-empty"), "No server is watched.");
  cards.show(site.servers);
  trail.show(site);
  chart.show(site.margins);
}

function linkText(): string {
  switch (linkState) {
    case "connecting":
      return "Connecting…";
    case "live":
      return "Live";
    case "outdated":
      return "This page is out of date: reload it";
    case "lost": {
      const last = site === null ? "" : ` Shown: ${ago(site.atMs, siteNow())}`;
      return `Connection lost, trying again.${last}`;
    }
  }
}

function drawLink(): void {
  byId("link").dataset["state"] = linkState;
  document.body.dataset["link"] = linkState;
  say(byId("link-text"), linkText());
}

openStream({
  onStatus(document) {
    site = document;
    receivedAt = performance.now();
    draw();
  },
  onState(state) {
    linkState = state;
    drawLink();
  },
});

// Ages move on between documents.
setInterval(() => {
  drawLink();
  if (linkState === "live") draw();
}, 1000);
