"""What our own pages look like: one template, its style inline, so that a page needs nothing that may be down. Pure."""

from __future__ import annotations

from string import Template

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>$status $title</title>
<style>
:root {
  --ground: #f6f5f2; --card: #fff; --ink: #1d2129; --soft: #5b6472; --line: #e2e0da;
  --accent: #b4431f; --tint: #fbeee8; --well: #f2f0eb;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --card: #1c1f25; --ink: #e7e9ee; --soft: #9aa3b2; --line: #2d323b;
    --accent: #ff9a73; --tint: #2b211d; --well: #15181d;
  }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body {
  margin: 0; min-height: 100vh; min-height: 100dvh; display: flex; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  padding: clamp(1rem, 4vw, 3rem);
}
main {
  margin: auto; width: 100%; max-width: 34rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 1rem; padding: clamp(1.5rem, 5vw, 3rem); box-shadow: 0 1px 2px #0001, 0 12px 32px #0000000d;
}
main:has(section) { max-width: 60rem }
h1 { margin: 0 0 .75rem; font-size: 1rem; font-weight: 600; color: var(--soft); letter-spacing: .01em }
h1 b { display: block; font-size: clamp(3.25rem, 14vw, 5rem); line-height: 1; font-weight: 700;
  letter-spacing: -.04em; color: var(--accent); margin-bottom: .35rem; font-variant-numeric: tabular-nums }
.reason { margin: 0; font-size: clamp(1.15rem, 4vw, 1.35rem); line-height: 1.4; text-wrap: balance }
.advice { margin: .75rem 0 0; color: var(--soft); text-wrap: pretty }
h2 { margin: 0 0 .4rem; font-size: .8rem; font-weight: 600; color: var(--soft) }
dl { display: grid; grid-template-columns: auto 1fr; gap: .35rem 1rem; margin: 1.5rem 0 0; padding: 0 }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap }
section { margin-top: 1.5rem }
.remedy { background: var(--tint); border-radius: .5rem; padding: .9rem 1.1rem }
.remedy p { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap }
pre, code { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre {
  margin: 0; padding: 1rem 1.1rem; max-height: 60vh; overflow: auto; background: var(--well); font-size: .85rem;
  border: 1px solid var(--line); border-radius: .5rem; line-height: 1.5; tab-size: 4;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
pre:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
footer { margin-top: 1.75rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .8rem;
  color: var(--soft); overflow-wrap: anywhere }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0 } dd + dt { margin-top: .6rem } }
@media print { body { padding: 0 } main { border: 0; box-shadow: none } pre { max-height: none } }
</style>
</head>
<body>
<main>
<h1><b>$status</b> $title</h1>
<p class=reason>$reason</p>
$more
</main>
</body>
</html>
""")
"""
The one page. It is given C{status}, C{title}, C{reason} and C{more}, all of them escaped already.
"""
