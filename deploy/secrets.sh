#!/bin/sh
# Make the secrets of compose.yaml, each of its own, where there are none. The folder is yours alone; the containers' users read the files in it.
set -eu
umask 022
folder=$(dirname "$0")/secrets
mkdir -p -m 700 "$folder"
for name in database-password review-token model-token grafana-password; do
  [ -s "$folder/$name" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name"
done
echo "secrets are in $folder; the operator's token for the review page is in $folder/review-token"
