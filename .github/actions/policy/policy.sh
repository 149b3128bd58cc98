#!/usr/bin/env bash
# Lints, tests and plans DIRECTORY with the binary DOMICILE, and writes into OUT:
# report.md (the comment), domicile.sarif, and one text per step. Annotations go to
# standard output, the full texts to GITHUB_STEP_SUMMARY. All steps run, whatever
# an earlier one found; the exit code is 1 if one of them found something.
set -euo pipefail

: "${DOMICILE:=domicile}" "${DIRECTORY:=policies}" "${AGAINST:=git#HEAD}" "${MIN_COVERAGE:=0}" "${FAIL_ON_LOOSENING:=false}"
: "${OUT:?}" "${GITHUB_STEP_SUMMARY:=/dev/null}"
mkdir -p "$OUT"
failed=0

# Findings beside the lines, for code scanning and as annotations (the worst ten).
"$DOMICILE" lint "$DIRECTORY" --output sarif --exit-zero >"$OUT/domicile.sarif"
"$DOMICILE" lint "$DIRECTORY" --output github --exit-zero

lint=passed
"$DOMICILE" lint "$DIRECTORY" >"$OUT/lint.txt" 2>&1 || { lint=failed; failed=1; }
test=passed
"$DOMICILE" test "$DIRECTORY" --min-coverage "$MIN_COVERAGE" >"$OUT/test.txt" 2>&1 || { test=failed; failed=1; }

# What changes. Where there is nothing to compare with, that is said and no failure.
plan=compared
"$DOMICILE" plan "$DIRECTORY" --against "$AGAINST" --output markdown >"$OUT/plan.md" 2>"$OUT/plan.err" || plan="not compared"
if [ "$plan" = compared ] && [ "$FAIL_ON_LOOSENING" = true ]; then
  "$DOMICILE" breaking "$DIRECTORY" --against "$AGAINST" >"$OUT/breaking.txt" 2>&1 || { plan=loosens; failed=1; }
fi

# A text in a folded block; a fence that the text itself cannot close.
folded() {
  printf '<details%s><summary>%s</summary>\n\n~~~~~~~~text\n' "$3" "$1"
  head -c 20000 "$2" | sed 's/^~~~/ ~~~/'
  printf '\n~~~~~~~~\n\n</details>\n\n'
}
open() { [ "$1" = failed ] && echo ' open' || true; }

{
  echo '<!-- domicile-policy -->'
  echo "### Domicile: \`$DIRECTORY\`"
  echo
  echo "lint **$lint** · test **$test** · plan **$plan**"
  echo
  if [ "$plan" = "not compared" ]; then
    folded "plan against $AGAINST" "$OUT/plan.err" ''
  else
    head -c 20000 "$OUT/plan.md"
    echo
  fi
  folded lint "$OUT/lint.txt" "$(open $lint)"
  folded test "$OUT/test.txt" "$(open $test)"
} >"$OUT/report.md"
head -c 1000000 "$OUT/report.md" >>"$GITHUB_STEP_SUMMARY"
exit $failed
