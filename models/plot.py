#!/usr/bin/env python3
"""Join the logs of training stages into loss.csv and draw loss.svg.

Usage: python3 plot.py --log stage1.log --log stage2.log --csv loss.csv --svg loss.svg
"""
import argparse
import csv
import pathlib

W, H, LEFT, BOTTOM = 640, 320, 50, 40


def rows_of(logs):
    """Rows of train.py's log; step, tokens and seconds run on over the stages."""
    rows, base = [], (0, 0, 0.0)
    for stage, path in enumerate(logs, 1):
        last = base
        for line in pathlib.Path(path).read_text().splitlines():
            parts = line.removeprefix("final ").split()
            if len(parts) < 4 or not parts[0].isdigit():
                continue
            last = (base[0] + int(parts[0]), base[1] + int(parts[1]), round(base[2] + float(parts[2]), 1))
            rows.append([stage, *last, float(parts[3]), float(parts[4]) if len(parts) > 4 else ""])
        base = last
    return rows


def svg(rows):
    top = max(r[4] for r in rows)
    end = rows[-1][2]
    x = lambda tokens: LEFT + (W - LEFT - 10) * tokens / end
    y = lambda loss: 10 + (H - BOTTOM - 10) * (1 - loss / top)
    line = " ".join("%.1f,%.1f" % (x(r[2]), y(r[4])) for r in rows)
    dots = "".join('<circle cx="%.1f" cy="%.1f" r="3"/>' % (x(r[2]), y(r[5])) for r in rows if r[5] != "")
    grid = "".join(
        '<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d</text>'
        % (LEFT, y(v), W - 10, LEFT - 6, y(v) + 4, v)
        for v in range(int(top) + 1)
    )
    ticks = "".join(
        '<text x="%.1f" y="%d" text-anchor="middle">%.1f M</text>' % (x(end * i / 4), H - 22, end * i / 4e6) for i in range(5)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">'
        '<rect width="100%%" height="100%%" fill="#fff"/>%s%s'
        '<polyline points="%s" fill="none" stroke="#1663a6" stroke-width="1.5"/><g fill="#c2410c">%s</g>'
        '<text x="%d" y="%d" text-anchor="middle">tokens seen; line: training loss, dots: held-out loss (nats per token)</text></svg>\n'
        % (W, H, grid, ticks, line, dots, W // 2, H - 5)
    )


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--log", action="append", required=True)
    ap.add_argument("--csv", default="loss.csv")
    ap.add_argument("--svg", default="loss.svg")
    args = ap.parse_args()
    rows = rows_of(args.log)
    with open(args.csv, "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(["stage", "step", "tokens", "seconds", "train_nats", "heldout_nats"])
        w.writerows(rows)
    pathlib.Path(args.svg).write_text(svg(rows))


if __name__ == "__main__":
    main()
