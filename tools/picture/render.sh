#!/usr/bin/env bash
# Draws docs/comment.png: a golden comment of pkg/status as a forge shows it. Needs npx and chromium.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
{
  cat head.html
  sed 's/<details>/<details open>/' ../../pkg/status/testdata/comment/"${1:-deletes-data}".md | npx --yes marked@15.0.12 --gfm |
    perl -0pe 's{<pre><code class="language-diff">(.*?)</code></pre>}{ my $t = $1; $t =~ s/^(\+.*)$/<span class="create">$1<\/span>/gm; $t =~ s/^(-.*)$/<span class="delete">$1<\/span>/gm; $t =~ s/^(!.*)$/<span class="update">$1<\/span>/gm; "<pre>$t</pre>" }gse'
  echo '</body>'
} >"$out/comment.html"
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --user-data-dir="$out/profile" --hide-scrollbars --force-device-scale-factor=2 \
  --window-size=960,"${2:-900}" --screenshot="$out/comment.png" "file://$out/comment.html" 2>/dev/null
cp "$out/comment.png" "../../docs/${3:-comment}.png"
