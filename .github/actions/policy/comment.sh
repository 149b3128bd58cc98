#!/usr/bin/env bash
# Keeps one comment on pull request NUMBER of REPOSITORY: the one that begins with
# the marker of REPORT's first line is changed, and made where there is none.
set -euo pipefail
: "${REPOSITORY:?}" "${NUMBER:?}" "${REPORT:?}"

marker=$(head -n 1 "$REPORT")
id=$(gh api --paginate "repos/$REPOSITORY/issues/$NUMBER/comments" \
  --jq ".[] | select(.body | startswith(\"$marker\")) | .id" | head -n 1)
if [ -n "$id" ]; then
  gh api --method PATCH "repos/$REPOSITORY/issues/comments/$id" --field "body=@$REPORT" --silent
else
  gh api --method POST "repos/$REPOSITORY/issues/$NUMBER/comments" --field "body=@$REPORT" --silent
fi
