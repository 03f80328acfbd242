/** The style sheet of the report: one page, light and dark, wide and narrow, and on paper. */
export const style = `
:root{color-scheme:light dark;--paper:#fdfcfa;--card:#fff;--ink:#1d2329;--muted:#5b6570;--line:#d9dce0;
--held:#1f6f5c;--free:#b3261e;--accent:#2b5a9e;--rung:#8a6d1d;--wash:#f3f1ec}
@media (prefers-color-scheme:dark){:root{--paper:#14181c;--card:#1b2026;--ink:#e6e8ea;--muted:#9aa5b1;
--line:#343c45;--held:#5cc2a5;--free:#ff8a80;--accent:#8db4ef;--rung:#d3b25a;--wash:#20262d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem}
h3{font-size:1.05rem;margin:0}
p{max-width:46rem;margin:.5rem 0}
.when,.muted,caption,figcaption{color:var(--muted)}
.lead{font-size:1.08rem;border-left:.25rem solid var(--accent);padding-left:1rem;margin:1.25rem 0}
.scroll{overflow-x:auto;margin:1rem 0;border:1px solid var(--line);border-radius:.5rem;background:var(--card)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;padding:.6rem .75rem 0;font-size:.9rem}
th,td{padding:.45rem .75rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{border-top:0;font-weight:600;white-space:nowrap;color:var(--muted);font-size:.85rem}
td.n{text-align:right;white-space:nowrap}thead th.n{text-align:right}
tbody th{font-weight:600}
.tag{display:inline-block;font-size:.78rem;border:1px solid var(--line);border-radius:1rem;padding:0 .5rem;color:var(--muted);white-space:nowrap}
.held{color:var(--held)}.free{color:var(--free);font-weight:600}
figure{margin:1rem 0;padding:1rem;border:1px solid var(--line);border-radius:.5rem;background:var(--card)}
figcaption{font-size:.9rem;margin-top:.5rem}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--muted)}svg .name{fill:var(--ink)}svg .axis{font-size:11.5px}
.grid{stroke:var(--line);stroke-width:1}.row{stroke:var(--line);stroke-dasharray:1 3}
.curve{fill:none;stroke-width:1.6;stroke-linejoin:round;opacity:.85}.curve.held{stroke:var(--accent)}.curve.free{stroke:var(--free)}
.rung{stroke:var(--rung);stroke-dasharray:5 4}svg .rungname{fill:var(--rung);font-size:11px}
.trial.held,.decoded{fill:var(--accent);fill-opacity:.75}.trial.free{fill:none;stroke:var(--free);stroke-width:2}
.median{stroke:var(--ink);stroke-width:2}.bound{stroke:var(--rung);stroke-width:3}
.attack{border:1px solid var(--line);border-radius:.5rem;background:var(--card);margin:1rem 0;padding:1rem 1.1rem}
.attack figure{border:0;padding:0;margin:.75rem 0 0}
.free-list{padding-left:1.1rem;max-width:46rem}.free-list li{margin:.45rem 0}
.attack p{margin:.35rem 0}
.head{display:flex;flex-wrap:wrap;gap:.5rem;align-items:baseline}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.6rem 0}
dt{color:var(--muted)}dd{margin:0;min-width:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
code{font:.88em ui-monospace,monospace;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--accent)}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media (max-width:40rem){main{padding:1.25rem .9rem 3rem}.attack{padding:.85rem}figure{padding:.6rem}
dl{grid-template-columns:1fr;gap:0}dt{margin-top:.35rem}
.curves svg,.rows svg{min-width:34rem}.curves,.rows{overflow-x:auto}}
@media print{.attack,figure{break-inside:avoid}}
`;
